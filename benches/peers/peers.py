"""Ours beside PyTorch in one sitting: matmul, training step and greedy decoding on the same cores.

Run by `run.sh`, which builds both sides. The sides take turns, ours, theirs, ours, theirs, so that whatever
else the machine does falls on both; only one computes at a time. A turn whose threads waited for a core is
done again while patience lasts. Prints a table in markdown and writes every sample with `--output`.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from datetime import date

parser = argparse.ArgumentParser(prog="run.sh", description=__doc__.split("\n\n")[0])
parser.add_argument("--threads", type=int, default=2, metavar="N", help="threads of either side (default: 2)")
parser.add_argument("--parts", default="matmul,step,decode", help="which parts (default: all three)")
parser.add_argument("--quick", action="store_true", help="few turns: minutes instead of a quarter of an hour")
parser.add_argument("--tiny", action="store_true", help="tiny shapes: only shows that everything works")
parser.add_argument("--compile", action="store_true", help="also time the step under torch.compile")
parser.add_argument("--patience", type=float, default=60, metavar="S",
                    help="seconds to wait for free cores at each figure (default: 60)")
parser.add_argument("--output", metavar="FILE", help="write all samples as JSON")
parser.add_argument("--peer", required=True, help=argparse.SUPPRESS)
parser.add_argument("--floor", required=True, help=argparse.SUPPRESS)
parser.add_argument("--scratch", required=True, help=argparse.SUPPRESS)
options = parser.parse_args()

# Before torch makes its threads: the same cores for this process and its children, and no look at a network.
cores = sorted(os.sched_getaffinity(0))[: options.threads]
os.sched_setaffinity(0, cores)
os.environ.update(OMP_NUM_THREADS=str(options.threads), MKL_NUM_THREADS=str(options.threads), HF_HUB_OFFLINE="1")

import torch  # noqa: E402
import transformers  # noqa: E402

import pytorch  # noqa: E402
from side import Child, busy, own_turn  # noqa: E402

torch.set_num_threads(options.threads)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

# Of a turn's wall time; more than this in waiting for a core and the turn is done again.
DISTURBED = 0.03
ROUNDS = {"matmul": 9, "step": 7, "decode": 5}
QUICK = {"matmul": 3, "step": 3, "decode": 2}


def rounds(part):
    return QUICK[part] if options.quick or options.tiny else ROUNDS[part]


def note(text):
    print(text, file=sys.stderr, flush=True)


def child(part):
    tiny = ["--tiny"] if options.tiny else []
    return Child([options.peer, part, "--threads", str(options.threads), *tiny])


def take_turns(count, sides):
    """`count` rounds of all sides in turn. Each side is a function that does one turn.

    A round begins when the cores are free, and counts when no side was disturbed. Once patience is at an end
    rounds are taken as they come, and the least disturbed ones are what we have.
    """
    done, deadline = [], time.monotonic() + options.patience
    while True:
        while time.monotonic() < deadline and busy() > DISTURBED:
            pass
        turns = {name: turn() for name, turn in sides.items()}
        done.append((max(turn.disturbed for turn in turns.values()), turns))
        enough = sum(worst <= DISTURBED for worst, _ in done) >= count
        if enough or (len(done) >= count and time.monotonic() >= deadline):
            kept = sorted(done, key=lambda pair: pair[0])[:count]
            return {name: [turns[name] for _, turns in kept] for name in sides}


class Floors:
    """What the machine can do, asked again and again through the sitting; the best of all is the floor."""

    def __init__(self):
        tiny = ["--tiny"] if options.tiny else []
        self.child = Child([options.floor, str(options.threads), *tiny])
        self.rates = {"fma": [], "read": []}

    def measure(self):
        for what, rates in self.rates.items():
            answer = self.child.ask(what)
            rates += [answer["work"] / seconds / 1e9 for seconds in answer["seconds"]]

    def best(self, what):
        return max(self.rates[what])


class Row:
    """One line of the table: rates of both sides in one unit, more being better."""

    def __init__(self, what, unit, work, turns, floor=None):
        self.what, self.unit, self.floor = what, unit, floor
        self.work = work
        self.seconds = {name: [s for t in ts for s in t.outcome["seconds"]] for name, ts in turns.items()}
        self.cpu = {name: statistics.median(t.cpu for t in ts) for name, ts in turns.items()}
        self.disturbed = max(t.disturbed for ts in turns.values() for t in ts)

    def rate(self, side, pick=statistics.median):
        return self.work / pick(self.seconds[side]) / self.scale()

    def scale(self):
        return {"GFLOP/s": 1e9, "GB/s": 1e9}.get(self.unit, 1)

    def ratio(self):
        return statistics.median(self.seconds["torch"]) / statistics.median(self.seconds["ours"])

    def spread(self, side):
        # The shortest time is the highest rate.
        return f"{self.rate(side):.4g} ({self.rate(side, max):.4g}–{self.rate(side, min):.4g})"

    def as_json(self):
        sides = {
            name: {
                "median": self.rate(name), "min": self.rate(name, max), "max": self.rate(name, min),
                "seconds": seconds, "cpu_seconds_a_turn": self.cpu[name],
            }
            for name, seconds in self.seconds.items()
        }
        return {
            "what": self.what, "unit": self.unit, "work": self.work, "floor": self.floor, "sides": sides,
            "ratio": self.ratio(), "disturbed": self.disturbed,
        }


def wrapped(work):
    """A turn of PyTorch whose answer looks like the child's."""
    return own_turn(lambda: {"seconds": work()})


def matmul(floors):
    rows = []
    with child("matmul") as ours:
        for i, (m, n, k) in enumerate(ours.greeting["shapes"]):
            theirs = pytorch.Matmul(m, n, k)
            for product in ours.greeting["products"]:
                request = {"shape": i, "product": product, "repetitions": 3}
                turns = take_turns(rounds("matmul"), {
                    "ours": lambda: ours.turn(request),
                    "torch": lambda: wrapped(lambda: theirs.turn(product, 3)),
                })
                rows.append(Row(f"{product} {m}×{n}×{k}", "GFLOP/s", 2 * m * n * k, turns, "fma"))
            floors.measure()
            note(f"matmul {i + 1} of {len(ours.greeting['shapes'])} shapes")
    return rows


def step(floors):
    rows = []
    with child("step") as ours:
        facts = ours.greeting
        theirs = {"torch": pytorch.Training(facts["config"], facts["ids"], facts["optimizer"])}
        folder = tempfile.mkdtemp(dir=options.scratch)
        try:
            theirs["torch"].save(folder)
            ours.ask({"model": folder})
        finally:
            shutil.rmtree(folder)
        if options.compile:
            compiled = pytorch.Training(facts["config"], facts["ids"], facts["optimizer"], compiled=True)
            theirs["torch.compile"] = compiled
        history = {"ours": [], **{name: [] for name in theirs}}

        def our_turn():
            turn = ours.turn({})
            history["ours"].append(turn.outcome["loss"])
            turn.outcome["seconds"] = [turn.outcome["seconds"]]
            return turn

        def their_turn(name):
            def work():
                seconds, loss = theirs[name].turn()
                history[name].append(loss)
                return [seconds]

            return wrapped(work)

        sides = {"ours": our_turn, **{name: lambda name=name: their_turn(name) for name in theirs}}
        take_turns(1, sides)  # memory is touched, threads are up, and code is compiled
        floors.measure()
        turns = take_turns(rounds("step"), sides)
        floors.measure()
    tokens = sum(map(len, facts["ids"]))
    rows.append(Row("training step", "tokens/s", tokens, turns))
    rows.append(Row("… its products alone", "GFLOP/s", facts["flops"], turns, "fma"))
    worst = max(abs(a - b) / abs(b) for a, b in zip(history["ours"], history["torch"]))
    note(f"step: losses of {len(history['ours'])} steps agree within {worst:.1e}")
    if worst > 1e-4:
        raise SystemExit(f"the two sides do not train the same model: {history}")
    return rows, {"losses": history, "largest relative difference": worst}


def decode(floors):
    # Without bf16 instructions PyTorch's bf16 may be slower than its f32: both are timed.
    rows, prompt, tokens = [], list(range(1, 9)), 8 if options.quick or options.tiny else 32
    with child("decode") as ours:
        for dtype in ["bfloat16", "float32"]:
            theirs = pytorch.Decoding(ours.greeting["config"], dtype)
            sides = {
                "ours": lambda: ours.turn({"prompt": prompt, "tokens": tokens}),
                "torch": lambda: wrapped(lambda: theirs.turn(prompt, tokens)),
            }
            take_turns(1, sides)
            floors.measure()
            turns = take_turns(rounds("decode"), sides)
            floors.measure()
            rows.append(Row(f"decode 1B, ours bf16, theirs {dtype}", "tokens/s", 1, turns))
            if dtype == "bfloat16":
                rows.append(Row("… its weights alone", "GB/s", ours.greeting["bytes"], turns, "read"))
            note(f"decode: {dtype} done")
            del theirs, sides
    return rows


def machine():
    """What the figures were measured on, without names of hosts or places."""
    facts = {"cores": len(cores), "system": platform.system(), "arch": platform.machine()}
    try:
        lines = dict(line.split(":", 1) for line in open("/proc/cpuinfo") if ":" in line)
        facts |= {key.strip(): value.strip() for key, value in lines.items()
                  if key.strip() in ("model name", "cpu family", "model", "stepping")}
    except OSError:
        facts["model name"] = platform.processor()
    return facts


def table(rows, floors):
    lines = ["| what | unit | ours, median (min–max) | PyTorch | ratio | CPU time, theirs / ours | ours / floor | floor |",
             "|---|---|---|---|---|---|---|---|"]
    names = {"fma": "multiply-adds in registers", "read": "plain read"}
    for row in rows:
        floor = floors.best(row.floor) if row.floor else None
        part = [f"{row.rate('ours') / floor:.2f}", f"{floor:.4g} {names[row.floor]}"] if floor else ["", ""]
        cells = [row.what, row.unit, row.spread("ours"), row.spread("torch"), f"{row.ratio():.2f}",
                 f"{row.cpu['torch'] / row.cpu['ours']:.2f}", *part]
        lines.append("| " + " | ".join(cells) + (" |" if row.disturbed <= DISTURBED else " | *"))
        for other in row.seconds.keys() - {"ours", "torch"}:
            lines.append(f"| … {other} | {row.unit} | | {row.spread(other)} | "
                         f"{row.rate('ours') / row.rate(other):.2f} | {row.cpu[other] / row.cpu['ours']:.2f} | | |")
    if any(row.disturbed > DISTURBED for row in rows):
        lines.append("\n`*`: other work took cores during the turns that are left; measure again on a quiet machine.")
    return "\n".join(lines)


def main():
    floors, rows, checks = Floors(), [], {}
    floors.measure()
    for part in options.parts.split(","):
        if part == "step":
            found, checks["step"] = step(floors)
            rows += found
        else:
            rows += {"matmul": matmul, "decode": decode}[part](floors)
    print(table(rows, floors))
    if options.output:
        result = {
            "date": date.today().isoformat(),
            "machine": machine(),
            "threads": options.threads,
            "floor_set": floors.child.greeting["set"],
            "versions": {
                "torch": torch.__version__, "transformers": transformers.__version__,
                "python": platform.python_version(), "torch_cpu": torch.backends.cpu.get_cpu_capability(),
            },
            "options": {"quick": options.quick, "tiny": options.tiny},
            "floors": {what: {"best": max(rates), "rates": rates} for what, rates in floors.rates.items()},
            "checks": checks,
            "rows": [row.as_json() for row in rows],
        }
        with open(options.output, "w") as file:
            json.dump(result, file, indent=1)
            file.write("\n")


main()
