"""Does transformers load a checkpoint unchanged, and give our log-probabilities?

    python3 trainer/tests/check_checkpoint.py [CHECKPOINT [TEXTS.jsonl]]

makes an environment with transformers under target/, trains forty steps of the quick start unless a checkpoint is
given, and compares the log-probability of every token of some texts (rows with `text`, or `question` and
`answer`) with those of `octo-engine logprobs`.
"""

import json
import os
import pathlib
import subprocess
import sys
import venv

ROOT = pathlib.Path(__file__).resolve().parents[2]
ENVIRONMENT = pathlib.Path(os.environ.get("PEERS_VENV", ROOT / "target" / "checkpoint-venv"))
RUN = ROOT / "target" / "checkpoint-run"
PACKAGES = ["torch==2.9.1", "transformers==5.23.0"]
BINARY = ROOT / "target" / "release" / "octo-engine"
LIMIT = 1e-4
TEXTS = [
    "Mia has 14 apples. She buys 9 more. How many apples does Mia have now? Mia buys 9 more, so she has 23.",
    "There are 6 boxes with 7 pencils in each.",
    "Ünïcödé, 12345 numbers\n\nand lines.",
]


def inside_environment():
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        venv.create(ENVIRONMENT, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    sys.exit(subprocess.run([python, __file__, "inside", *sys.argv[1:]]).returncode)


def trained():
    """A checkpoint of the quick start."""
    sets = [f"run.dir={RUN}", "stages.0.steps=40"]
    sets = [word for value in sets for word in ("--set", value)]
    subprocess.run([BINARY, "train", ROOT / "recipes/quickstart.toml", "--fresh", *sets], check=True)
    return RUN / "checkpoints" / "latest"


def read(path):
    rows = [json.loads(line) for line in path.read_text().splitlines()[:20]]
    return [row["text"] if "text" in row else row["question"] + "\n" + row["answer"] for row in rows]


def check(arguments):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    checkpoint = pathlib.Path(arguments[0]) if arguments else trained()
    texts = read(pathlib.Path(arguments[1])) if len(arguments) > 1 else TEXTS
    model = AutoModelForCausalLM.from_pretrained(checkpoint / "model", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint / "model")
    command = [BINARY, "logprobs", "--model", checkpoint, "--device", "cpu", "--input", "-", "--output", "-"]
    rows = "\n".join(json.dumps({"text": text}) for text in texts)
    ours = subprocess.run(command, input=rows, capture_output=True, text=True, check=True).stdout
    worst = 0.0
    for text, line in zip(texts, ours.splitlines(), strict=True):
        ours = json.loads(line)
        ids = tokenizer(text)["input_ids"]
        assert ids == ours["tokens"], (text, ids, ours["tokens"])
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, :-1]
        theirs = torch.log_softmax(logits.double(), -1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
        difference = (theirs - torch.tensor(ours["logprobs"], dtype=torch.float64)).abs()
        worst = max(worst, difference.max().item())
    print(f"{type(model).__name__}: {len(texts)} texts, log-probabilities agree within {worst:.1e}")
    assert worst <= LIMIT, worst


if sys.argv[1:2] == ["inside"]:
    check(sys.argv[2:])
else:
    subprocess.run(["cargo", "build", "--release"], cwd=ROOT, check=True)
    inside_environment()
