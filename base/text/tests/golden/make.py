"""Records what the Python `tokenizers` library makes of texts with the tokenizer beside this file.

    pip install tokenizers==0.23.3 && python make.py

`tokenizer.json` itself is what this crate trains on the text of its tests (`samples.rs`). The library's Python
build splits with Oniguruma, unlike its Rust build: equal ids say that our own split is right.
"""
import json
from pathlib import Path

from tokenizers import Tokenizer

HERE = Path(__file__).parent
TAIL = "q. 5"
TEXTS = [
    "", "The quick brown fox", "  two  spaces ", "a\n\n b\r\n\tc", "it's IT'S they'LL \u017f's", "3.14159 12,000 \u00bd \u2167",
    "caf\u00e9 e\u0301 na\u00efve", "\u6570\u5b66 \u3067\u3059", "\U0001f642\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u00a0\u3000\u2028\u0085x", "<|endoftext|><|im_end|> end",
    "_-_ --- ?! $5 (x) [y]", "    def f(x):\n        return x\n", "\u0915\u094d\u0937\u093f \u0627\u0628",
]
RUNS = [" ", "\n", "7", "x", "\u00e9", "!", " a", "1 ", "\u3000"]


def fnv(ids):
    value = 0xCBF29CE484222325
    for i in ids:
        for byte in i.to_bytes(4, "little"):
            value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def main():
    tokenizer = Tokenizer.from_file(str(HERE / "tokenizer.json"))
    cases = [(text, 1) for text in TEXTS] + [(text, n) for text in RUNS for n in (1, 2, 3, 17, 1 << 17)]
    out = []
    for text, times in cases:
        ids = tokenizer.encode(text * times + TAIL).ids
        out.append({"text": text, "times": times, "count": len(ids), "fnv": fnv(ids)})
    lines = ",\n".join(json.dumps(case) for case in out)
    (HERE / "ids.json").write_text(f"[\n{lines}\n]\n")


main()
