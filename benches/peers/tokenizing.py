"""`octo-engine data tokenize` beside the tokenizers library in Python, in turns, on the same rows and threads.

    cargo build --release
    python benches/peers/tokenizing.py --tokenizer tokenizer.json --input rows.jsonl --field text

The environment needs `tokenizers` and `numpy` (those of requirements.txt bring both). Each side does the same
work in a process of its own: read the lines, take one field, tokenise it, add the end-of-sequence token, write
the ids. Python hands the library batches of 10,000 texts (`encode_batch_fast`, which leaves offsets out). Wall
time is that of the whole process less what Python needs to start and import; both sides load the tokenizer.
The ids of both are compared at the end.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--tokenizer", required=True, help="a tokenizer.json")
parser.add_argument("--input", required=True, help="a file of JSON lines")
parser.add_argument("--field", default="text", help="the field that is tokenised")
parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--repeat", type=int, default=1, help="times that the input's rows are taken")
parser.add_argument("--binary", default="target/release/octo-engine")
parser.add_argument("--output", help="write the result as JSON")
parser.add_argument("--their-turn", nargs=4, help=argparse.SUPPRESS)

BATCH = 10_000


def their_turn(tokenizer_path, rows, field, out):
    """One turn of the library; prints its seconds."""
    import numpy
    from tokenizers import Tokenizer

    def batches():
        batch = []
        with open(rows) as lines:
            for line in lines:
                batch.append(json.loads(line)[field])
                if len(batch) == BATCH:
                    yield batch
                    batch = []
        if batch:
            yield batch

    began = time.perf_counter()
    tokenizer = Tokenizer.from_file(tokenizer_path)
    eos = int(os.environ["OCTO_EOS"])
    wide = max(tokenizer.get_vocab().values()) >= 1 << 16
    bos = [int(token) for token in os.environ["OCTO_BOS"].split()]
    with open(out, "wb") as file:
        for batch in batches():
            ids = [token for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False)
                   for token in (*bos, *encoding.ids, eos)]
            file.write(numpy.asarray(ids, dtype="<u4" if wide else "<u2").tobytes())
    print(time.perf_counter() - began)


def main(options):
    scratch = tempfile.mkdtemp()
    try:
        rows, text_bytes = os.path.join(scratch, "rows.jsonl"), 0
        with open(options.input) as source:
            lines = source.read().splitlines()
        with open(rows, "w") as file:
            for _ in range(options.repeat):
                for line in lines:
                    text_bytes += len(json.loads(line)[options.field].encode())
                    file.write(line + "\n")
        ours_out, theirs_out = os.path.join(scratch, "ours"), os.path.join(scratch, "theirs.ds")

        def ours():
            shutil.rmtree(ours_out, ignore_errors=True)
            began = time.perf_counter()
            subprocess.run([options.binary, "data", "tokenize", "--tokenizer", options.tokenizer, "--input", rows,
                            "--text", "{{ " + options.field + " }}", "--output", ours_out,
                            "--threads", str(options.threads)], check=True, capture_output=True)
            return time.perf_counter() - began

        ours()
        with open(os.path.join(ours_out, "shards.json")) as file:
            card = json.load(file)
        bos = "" if card["bos"] is None else str(card["bos"])
        environment = os.environ | {"OCTO_EOS": str(card["eos"]), "OCTO_BOS": bos,
                                    "RAYON_NUM_THREADS": str(options.threads), "TOKENIZERS_PARALLELISM": "true"}
        call = [sys.executable, __file__, "--tokenizer", "", "--input", "", "--their-turn",
                options.tokenizer, rows, options.field, theirs_out]

        def theirs():
            done = subprocess.run(call, env=environment, check=True, capture_output=True, text=True)
            return float(done.stdout)

        sides = {"ours": ours, "tokenizers": theirs}
        seconds = {name: [] for name in sides}
        theirs()
        for _ in range(options.rounds):
            for name, turn in sides.items():
                seconds[name].append(turn())
        ours_ids = b"".join(open(os.path.join(ours_out, file["name"]), "rb").read() for file in card["files"])
        if ours_ids != open(theirs_out, "rb").read():
            raise SystemExit("the two sides do not give the same ids")
        print(f"{text_bytes / 1e6:.1f} MB of text, {card['tokens']} tokens, {options.threads} threads; ids agree")
        print("| side | seconds, median (min–max) | tokens/s | MB/s |\n|---|---|---|---|")
        for name, taken in seconds.items():
            median = statistics.median(taken)
            print(f"| {name} | {median:.2f} ({min(taken):.2f}–{max(taken):.2f}) | {card['tokens'] / median:.3g} "
                  f"| {text_bytes / 1e6 / median:.1f} |")
        print(f"ratio {statistics.median(seconds['tokenizers']) / statistics.median(seconds['ours']):.2f}")
        if options.output:
            import tokenizers

            result = {"tokens": card["tokens"], "text_bytes": text_bytes, "threads": options.threads,
                      "tokenizers": tokenizers.__version__, "seconds": seconds}
            with open(options.output, "w") as file:
                json.dump(result, file, indent=1)
                file.write("\n")
    finally:
        shutil.rmtree(scratch)


options = parser.parse_args()
if options.their_turn:
    their_turn(*options.their_turn)
else:
    main(options)
