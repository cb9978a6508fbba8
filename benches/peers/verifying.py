"""octo-verify beside Math-Verify on generated pairs with known truth.

    cargo build --release -p octo-verify --example pairs
    python -m venv target/verifying && target/verifying/bin/pip install -r benches/peers/verifying.txt
    target/verifying/bin/python benches/peers/verifying.py --count 50000 --seed 1 --output benches/results/verifying/2026-11-21-seed-1.json

The pairs, their truth and our verdicts come from `pairs COUNT SEED verdicts`. Math-Verify is asked as its documentation
says: `verify(parse(gold), parse(response))`, with its default extraction; choices both as letters and as LaTeX's text, and equal if either way says so.
It may take a minute a step instead of its five seconds, so that a busy machine does not change its mind. An exception or a
timeout is a verdict of not equal. Its verdicts are kept under target/, by pair, so that a later run
asks about new pairs only.

Written are, form by form: the pairs, how often each side agrees with the truth, how often strict calls equal what is not,
how often mode math-verify says what the package says; and for every form the first pairs on which they differ.
"""

import argparse
import collections
import json
import logging
import multiprocessing
import os
import subprocess
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--count", type=int, default=50_000)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--binary", default="target/release/examples/pairs")
parser.add_argument("--kept", default="target/verifying-verdicts.jsonl", help="verdicts of earlier runs")
parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
parser.add_argument("--shown", type=int, default=3, help="differences shown a form")
parser.add_argument("--output", help="write the result as JSON")


def ask(row):
    """Math-Verify's verdict, and the seconds it took."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, StringExtractionConfig, parse, verify

    latex = [LatexExtractionConfig(), ExprExtractionConfig()]
    ways = [(row["gold"], latex)]
    if row["form"] == "choices":
        ways = [(row["gold"], [StringExtractionConfig()]), (f"$\\text{{{row['gold']}}}$", latex)]
    began = time.perf_counter()
    equal = False
    for gold, config in ways:
        try:
            sides = [parse(text, config, parsing_timeout=60) for text in (gold, row["answer"])]
            equal = equal or bool(verify(*sides, timeout_seconds=60))
        except Exception:
            pass
    return equal, time.perf_counter() - began


def start():
    logging.disable(logging.CRITICAL)


def verdicts(rows, arguments):
    """Of every row, from earlier runs where they know it."""
    known = {}
    if os.path.exists(arguments.kept):
        with open(arguments.kept) as lines:
            for line in lines:
                gold, answer, equal, seconds = json.loads(line)
                known[gold, answer] = equal, seconds
    unknown = [row for row in rows if (row["gold"], row["answer"]) not in known]
    with multiprocessing.Pool(arguments.processes, start) as pool, open(arguments.kept, "a") as kept:
        answers = pool.imap(ask, unknown, chunksize=16)
        for done, (row, (equal, seconds)) in enumerate(zip(unknown, answers)):
            known[row["gold"], row["answer"]] = equal, seconds
            kept.write(json.dumps([row["gold"], row["answer"], equal, round(seconds, 6)]) + "\n")
            if done % 500 == 0:
                kept.flush()
                print(f"{done} of {len(unknown)} pairs asked", flush=True)
    return [known[row["gold"], row["answer"]] for row in rows]


def main():
    arguments = parser.parse_args()
    command = [arguments.binary, str(arguments.count), str(arguments.seed), "verdicts"]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    rows = [json.loads(line) for line in lines]
    theirs = verdicts(rows, arguments)
    forms = collections.defaultdict(lambda: collections.Counter())
    shown = collections.defaultdict(list)
    for row, (package, _) in zip(rows, theirs):
        form, truth = forms[row["form"]], row["equal"]
        strict, mode = row["strict"] == "equal", row["math-verify"] == "equal"
        form["pairs"] += 1
        form["strict right"] += strict == truth
        form["package right"] += package == truth
        form["strict falsely equal"] += strict and not truth
        form["package falsely equal"] += package and not truth
        form["mode agrees"] += mode == package
        if strict != truth:
            shown[row["form"], "strict is wrong"].append(row)
        if mode != package:
            shown[row["form"], "mode says " + ("equal" if mode else "not equal")].append(row)
    total = sum(forms.values(), collections.Counter())
    print(f"{'form':26}{'pairs':>7}{'strict':>9}{'package':>9}{'mode':>9}   falsely equal: strict, package")
    for name, form in [*forms.items(), ("all", total)]:
        part = lambda key: f"{100 * form[key] / form['pairs']:8.2f}%"
        print(
            f"{name:26}{form['pairs']:7}{part('strict right')}{part('package right')}{part('mode agrees')}"
            f"   {form['strict falsely equal']}, {form['package falsely equal']}"
        )
    for (form, what), differing in shown.items():
        for row in differing[: arguments.shown]:
            print(f"{form}, {what} ({len(differing)}): {row['gold']!r} {row['answer']!r} truth {row['equal']}")
    if arguments.output:
        import math_verify  # noqa: F401, its version is asked for below
        from importlib.metadata import version

        result = {
            "count": arguments.count,
            "seed": arguments.seed,
            "packages": {name: version(name) for name in ("math-verify", "latex2sympy2_extended", "sympy")},
            "forms": {name: dict(form) for name, form in [*forms.items(), ("all", total)]},
            "mode_differs": [
                {"form": form, "what": what, "pairs": len(differing), "gold": differing[0]["gold"],
                 "answer": differing[0]["answer"]}
                for (form, what), differing in shown.items() if what.startswith("mode")
            ],
        }
        with open(arguments.output, "w") as file:
            json.dump(result, file, indent=1, ensure_ascii=False)
            file.write("\n")


if __name__ == "__main__":
    main()
