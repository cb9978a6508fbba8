"""Says whether transformers sees the same model in two directories.

Needs torch and transformers, as make.py does.

    cargo run -p octo-model --example copy_model -- SOURCE COPY
    python check_export.py SOURCE COPY

Compares every tensor and the logits of random tokens bit for bit, in the dtype transformers picks from the
config; a copy in another dtype is compared with the source rounded to it.
"""

import sys

import torch
from transformers import AutoModelForCausalLM

source_dir, copy_dir = sys.argv[1:]
copy, report = AutoModelForCausalLM.from_pretrained(copy_dir, dtype="auto", output_loading_info=True)
for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
    assert not report[kind], (kind, report[kind])
source = AutoModelForCausalLM.from_pretrained(source_dir, dtype=copy.dtype)

ours, theirs = copy.state_dict(), source.state_dict()
assert ours.keys() == theirs.keys(), ours.keys() ^ theirs.keys()
for name in theirs:
    assert torch.equal(ours[name], theirs[name]), name

generator = torch.Generator().manual_seed(0)
ids = torch.randint(0, source.config.vocab_size, (2, 33), generator=generator)
with torch.no_grad():
    assert torch.equal(copy(ids).logits, source(ids).logits), "logits"
different = {
    key: (value, copy.config.to_dict().get(key))
    for key, value in source.config.to_dict().items()
    if value != copy.config.to_dict().get(key) and key not in ("_name_or_path",)
}
print(f"{len(ours)} tensors and the logits are equal in {copy.dtype}; config differs in {different or 'nothing'}")
