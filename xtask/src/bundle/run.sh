#!/usr/bin/env bash
# Asks a machine with an NVIDIA GPU what we want to know of it.
#
#   ./run.sh [first|all|PART…] [--budget SECONDS] OUT
#
# Parts, the most telling first: doctor (driver, device), selftest (does every kernel compute what it should?), train (does a
# small model learn?), bits (does what it decodes score to the bit, alone and in a crowd?), atlas (sums of tensor cores,
# approximations, ceilings of the card; needs nvcc), bench-8b, bench-1b (every kernel at real shapes),
# whole (training steps and decoding passes of 1B, 3B and 8B models), rl (does reinforcement learn, and do trainer and sampler
# agree to the bit?), rollout (how fast models of 1B, 3B and 8B generate), sweep (every variant of the tuning table, and which is
# fastest), peers (PyTorch on the same card, in turns with ours; needs python3 with torch), sanitizer (compute-sanitizer over
# small cases), ncu (the slowest kernels' counters). `first` is doctor to bench-8b in under four minutes. A part is a process
# of its own, bounded in time; one that is done is not done again by a next call with the same OUT, and one whose tool is not
# here is named and left out. OUT gets at most sixteen files.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)

all=(doctor selftest train bits atlas bench-8b bench-1b whole rl rollout sweep peers sanitizer ncu)
parts=() budget=3600 out=
while [ $# -gt 0 ]; do
    case $1 in
        first) parts+=(doctor selftest train bits atlas bench-8b); budget=240 ;;
        all) parts+=("${all[@]}") ;;
        --budget) budget=${2:?--budget takes seconds}; shift ;;
        doctor | selftest | train | bits | atlas | bench-8b | bench-1b | whole | rl | rollout | sweep | peers | sanitizer | ncu) parts+=("$1") ;;
        -*) echo "no option $1; see the head of $0" >&2; exit 2 ;;
        *)
            if [ -n "$out" ]; then
                echo "neither a part nor the one folder for results: $1; parts are ${all[*]}" >&2
                exit 2
            fi
            out=$1 ;;
    esac
    shift
done
if [ -z "$out" ]; then
    echo "usage: $0 [first|all|PART…] [--budget SECONDS] OUT; parts are ${all[*]}" >&2
    exit 2
fi
[ ${#parts[@]} -gt 0 ] || parts=("${all[@]}")
mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd)
log=$out/log.txt

# Runs a part's command within what is left of the time; its output goes to the log and the screen.
bounded() {
    local left=$((budget - SECONDS))
    # Nought would be no bound at all.
    if [ "$left" -lt 1 ]; then
        echo "no time left for $1" | tee -a "$log"
        return 124
    fi
    timeout --kill-after=5 "$left" "$@" 2>&1 | tee -a "$log"
    return "${PIPESTATUS[0]}"
}

engine() {
    bounded "$here/octo-engine" "$@"
}

# Decodes four prompts together, and scores each with its continuation in one pass: the numbers must be the same.
bits() {
    local model=$here/run/checkpoints/latest/model count=0 prompt line tokens logprobs scored
    local prompts=(7 9,30,2,8 "$(seq -s, 1 50)" "$(seq -s, 100 170)")
    local rows=$out/bits.jsonl asked=(--model "$model" --device cuda --input - --output -)
    printf '{"tokens": [%s]}\n' "${prompts[@]}" > "$rows.prompts"
    timeout --kill-after=5 "$(share 120)" \
        "$here/octo-engine" generate "${asked[@]}" --max-new-tokens 30 --ignore-eos --temperature 0 < "$rows.prompts" > "$rows" 2>> "$log"
    while IFS= read -r prompt <&3 && IFS= read -r line <&4; do
        tokens=$(sed 's/.*"tokens":\[\([^]]*\)\].*/\1/' <<< "$line")
        logprobs=$(sed 's/.*"logprobs":\[\([^]]*\)\].*/\1/' <<< "$line")
        scored=$(echo "${prompt%]\}},$tokens]}" | timeout --kill-after=5 "$(share 60)" "$here/octo-engine" logprobs "${asked[@]}" 2>> "$log")
        if [[ -z $logprobs || $scored != *"$logprobs]"* ]]; then
            echo "decoded $logprobs, scored $scored" | tee -a "$log"
            return 1
        fi
        count=$((count + 1))
    done 3< "$rows.prompts" 4< "$rows"
    rm "$rows.prompts"
    echo "$count prompts decoded together score to the bit in one pass each" | tee -a "$log"
    [ "$count" -eq ${#prompts[@]} ]
}

# Whether a tool is here; a part without its tool is left out, which is no failure.
absent=77
here_is() {
    command -v "$1" > /dev/null && return
    echo "no $1 here" | tee -a "$log"
    return 1
}

# Seconds for a part, of what is left, and at least one.
share() {
    local left=$((budget - SECONDS - 5))
    left=$((left < $1 ? left : $1))
    echo $((left < 1 ? 1 : left))
}

part() {
    case $1 in
        doctor)
            bounded nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem,power.draw,temperature.gpu --format=csv
            engine doctor
            ;;
        selftest) engine selftest --device cuda --budget "$(share $((budget / 2)))" --output "$out/selftest.jsonl" ;;
        train)
            # The run's folder stays beside the bundle: `bits` asks its model.
            engine train "$here/quickstart.toml" --fresh --set run.device=cuda --set "run.dir=$here/run" || return 1
            cp "$here/run/metrics.jsonl" "$out/train.jsonl"
            ;;
        bits) bits ;;
        atlas)
            here_is nvcc || return $absent
            local build
            build=$(mktemp -d) || return 1
            bounded nvcc -O3 -std=c++17 -gencode=arch=compute_90a,code=sm_90a -gencode=arch=compute_80,code=sm_80 \
                -o "$build/atlas" "$here/atlas.cu" && bounded "$build/atlas" "$out"
            local outcome=$?
            rm -r "$build"
            return $outcome
            ;;
        whole)
            # Steps first, small models first: what does not fit into the card's memory is said and passed over.
            for pass in step decode; do
                engine bench "$pass" --device cuda --measure-only --model 1b --model 3b --model 8b --budget "$(share 300)" \
                    --output "$out/whole-$pass.jsonl" || return 1
            done
            ;;
        rl)
            bounded "$here/octo-engine" rl "$here/quickstart-rl.toml" --fresh --set run.device=cuda --set "run.dir=$here/run-rl" || return 1
            cp "$here/run-rl/metrics.jsonl" "$out/rl.jsonl"
            # Of each step's first mini-batch trainer and sampler must say the very same, and there must be such a step.
            local compared same
            compared=$(grep -c '"training/rollout_probs_diff_max"' "$out/rl.jsonl")
            same=$(grep -Ec '"training/rollout_probs_diff_max":0(\.0)?[,}]' "$out/rl.jsonl")
            echo "trainer and sampler say the same in $same of $compared steps" | tee -a "$log"
            [ "$compared" -gt 0 ] && [ "$same" -eq "$compared" ] || return 1
            ;;
        rollout)
            for model in 1b 3b 8b; do
                engine bench rollout --device cuda --model "$model" --prompts 32 --samples 16 --streams 256 --least 64 --most 512 \
                    --output "$out/rollout-$model.jsonl" || return 1
            done
            ;;
        sweep) engine bench --sweep --device cuda --measure-only --model 8b --model 1b --budget "$(share 300)" --output "$out/sweep.jsonl" ;;
        peers)
            here_is python3 || return $absent
            if ! python3 -c 'import torch; assert torch.cuda.is_available()' 2> /dev/null; then
                echo "no PyTorch with CUDA here" | tee -a "$log"
                return $absent
            fi
            bounded python3 "$here/peers.py" "$here/octo-engine" "$out/peers.jsonl" --seconds "$(share 400)"
            ;;
        sanitizer)
            here_is compute-sanitizer || return $absent
            for tool in memcheck racecheck synccheck; do
                bounded compute-sanitizer --tool "$tool" --error-exitcode 9 --print-limit 20 \
                    "$here/octo-engine" selftest --device cuda --budget "$(share 60)" || return 1
            done
            ;;
        ncu)
            here_is ncu || return $absent
            # What is assembled beforehand knows no lines of the source.
            bounded env OCTO_CUBINS=none ncu --graph-profiling node --launch-skip 20 --launch-count 12 --set full --force-overwrite \
                --export "$out/kernels" "$here/octo-engine" bench /8b/ --device cuda --measure-only --model 8b --budget "$(share 120)"
            ;;
        bench-*) engine bench --device cuda --measure-only --model "${1#bench-}" --budget "$(share "$budget")" --output "$out/$1.jsonl" ;;
    esac
}

failed=0
for name in "${parts[@]}"; do
    if grep -qx "== $name: done" "$log" 2> /dev/null; then
        echo "== $name: done before"
        continue
    fi
    if [ $((budget - SECONDS)) -lt 10 ]; then
        echo "== $name: no time left" | tee -a "$log"
        continue
    fi
    echo "== $name: begun" | tee -a "$log"
    part "$name"
    case $? in
        0) echo "== $name: done" | tee -a "$log" ;;
        "$absent") echo "== $name: left out" | tee -a "$log" ;;
        *)
            echo "== $name: FAILED after $SECONDS s" | tee -a "$log"
            failed=1 ;;
    esac
done
exit $failed
