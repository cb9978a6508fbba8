"""Rollouts: ours beside transformers' batched generate, on the same cores in one sitting.

    cargo build --release -p octo --example peer
    PYTHON benches/peers/rollout.py --peer target/release/examples/peer --output benches/results/2026-11-21-rollout.json

PYTHON is that of an environment with benches/peers/requirements.txt. Both sides continue the same prompts with the same
f32 weights, greedily, each stream to a length of its own that is drawn beforehand and that nothing cuts short. transformers
pads its batch to the longest, which is what its generate does; tokens past a stream's length are computed there and not
counted. The sides take turns. That they agree on the tokens is checked before anything is timed.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from datetime import date

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--peer", default="target/release/examples/peer")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--streams", type=int, default=64)
parser.add_argument("--least", type=int, default=16)
parser.add_argument("--most", type=int, default=256)
parser.add_argument("--prompt", type=int, default=32, help="tokens of each prompt")
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--tiny", action="store_true", help="only shows that everything works")
parser.add_argument("--output", metavar="FILE", help="write all samples as JSON")
options = parser.parse_args()

# Before torch makes its threads: the same cores for this process and its child, and no look at a network.
cores = sorted(os.sched_getaffinity(0))[: options.threads]
os.sched_setaffinity(0, cores)
os.environ.update(OMP_NUM_THREADS=str(options.threads), MKL_NUM_THREADS=str(options.threads), HF_HUB_OFFLINE="1")

import torch  # noqa: E402
import transformers  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

from side import Child, busy, own_turn  # noqa: E402

torch.set_num_threads(options.threads)
transformers.logging.set_verbosity_error()


class Batched:
    """transformers' generate on all prompts as one batch, to the longest of the lengths."""

    def __init__(self, config):
        torch.manual_seed(1)
        self.model = LlamaForCausalLM._from_config(LlamaConfig(**config), attn_implementation="sdpa").eval()

    @torch.inference_mode()
    def turn(self, prompts, lengths):
        ids = torch.tensor(prompts)
        start = time.perf_counter()
        out = self.model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, use_cache=True, pad_token_id=0,
            # No token ends a stream early.
            eos_token_id=None, min_new_tokens=max(lengths), max_new_tokens=max(lengths),
        )
        seconds = time.perf_counter() - start
        drawn = out[:, ids.shape[1]:].tolist()
        return {"seconds": seconds, "tokens": [row[:n] for row, n in zip(drawn, lengths)]}


def note(text):
    print(text, file=sys.stderr, flush=True)


def agreement(ours, theirs):
    """The part of streams whose first sixteen tokens are the same on both sides."""
    same = [a[:16] == b[:16] for a, b in zip(ours, theirs)]
    return sum(same) / len(same)


def main():
    draw = random.Random(options.seed)
    lengths = [draw.randint(options.least, options.most) for _ in range(options.streams)]
    command = [options.peer, "rollout", "--threads", str(options.threads)] + (["--tiny"] if options.tiny else [])
    with Child(command) as ours:
        config = ours.greeting["config"]
        prompts = [[draw.randrange(config["vocab_size"]) for _ in range(options.prompt)] for _ in lengths]
        theirs = Batched(config)
        with tempfile.TemporaryDirectory() as folder:
            theirs.model.save_pretrained(folder)
            ours.ask({"model": folder})
        request = {"prompts": prompts, "lengths": lengths}
        sides = {"ours": lambda: ours.turn(request), "transformers": lambda: own_turn(lambda: theirs.turn(prompts, lengths))}
        first = {}  # memory is touched, threads are up
        for name, turn in sides.items():
            first[name] = turn()
            note(f"{name}, warming up: {first[name].outcome['seconds']:.1f} s, {first[name].cpu:.1f} s of CPU time")
        agree = agreement(*(turn.outcome["tokens"] for turn in first.values()))
        if agree < 0.9:
            raise SystemExit(f"the sides do not run the same model: {agree:.0%} of the streams begin alike")
        turns = {name: [] for name in sides}
        for _ in range(options.rounds):
            others = busy()
            for name, turn in sides.items():
                done = turn()
                note(f"{name}: {done.outcome['seconds']:.1f} s, {done.cpu:.1f} s of CPU time")
                turns[name].append({
                    "seconds": done.outcome["seconds"], "cpu_seconds": done.cpu, "waited": done.disturbed,
                    "others_before": others,
                })
    useful = sum(lengths)
    rate = {name: useful / statistics.median(t["seconds"] for t in ts) for name, ts in turns.items()}
    cpu = {name: statistics.median(t["cpu_seconds"] for t in ts) for name, ts in turns.items()}
    result = {
        "date": date.today().isoformat(), "threads": options.threads, "device": ours.greeting["device"],
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "config": config, "streams": options.streams, "prompt": options.prompt, "lengths": lengths,
        "useful_tokens": useful, "streams_that_begin_alike": agree, "tokens_per_second": rate,
        "ratio": rate["ours"] / rate["transformers"], "cpu_seconds": cpu,
        "ratio_of_cpu_seconds": cpu["transformers"] / cpu["ours"], "turns": turns,
    }
    print(f"ours {rate['ours']:.0f} tokens/s, transformers {rate['transformers']:.0f} tokens/s: "
          f"{result['ratio']:.2f} times, by CPU time {result['ratio_of_cpu_seconds']:.2f} times")
    if options.output:
        with open(options.output, "w") as file:
            json.dump(result, file, indent=1)
            file.write("\n")


main()
