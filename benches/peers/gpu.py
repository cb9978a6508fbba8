"""PyTorch on the same card, in turns with ours: gpu.py ENGINE OUT.jsonl [--seconds N].

Ours is `octo-engine bench CASE --device cuda`, a process a turn; theirs is timed by CUDA events in this process. Lines are
those of `bench --output`, with a `peer` where they are PyTorch's, so that `bench --compare` reads them. A part whose library
is not here (transformers) is left out and named.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F

ROUNDS, SAMPLE_MS = 3, 20.0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine")
    parser.add_argument("out")
    parser.add_argument("--seconds", type=float, default=240.0)
    return parser.parse_args()


def timed(work):
    """Microseconds of one call, from as many as fill a sample, after two that warm up."""
    for _ in range(2):
        work()
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

    def run(times):
        begin.record()
        for _ in range(times):
            work()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / times

    once = max(run(1), 1e-3)
    return run(max(1, int(SAMPLE_MS / once))) * 1e3


def randn(*shape, scale=1.0, grad=False):
    return (torch.randn(*shape, device="cuda", dtype=torch.bfloat16) * scale).requires_grad_(grad)


def rotating(make, sets=4):
    """Calls over several sets of operands in turn, so that no cache holds them."""
    works, turn = [make() for _ in range(sets)], iter(range(1 << 62))
    return lambda: works[next(turn) % sets]()


def matmul(m, n, k):
    def make():
        x, weight, residual = randn(m, k), randn(n, k, scale=0.02), randn(m, n)
        return lambda: torch.addmm(residual, x, weight.t())

    return rotating(make)


def copy():
    def make():
        source = randn(1 << 28)
        target = torch.empty_like(source)
        return lambda: target.copy_(source)

    return rotating(make, 2)


def attention(tokens, heads, kv_heads, head_dim, backward):
    def make():
        q = randn(1, heads, tokens, head_dim, grad=backward)
        k, v = (randn(1, kv_heads, tokens, head_dim, grad=backward) for _ in range(2))
        forward = lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        if not backward:
            return forward
        out = forward()
        dout = torch.randn_like(out)
        return lambda: torch.autograd.grad(out, (q, k, v), dout, retain_graph=True)

    return rotating(make, 2)


def llama(**more):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=2048, num_hidden_layers=16, num_attention_heads=32, num_key_value_heads=8, head_dim=64,
        intermediate_size=8192, vocab_size=128256, tie_word_embeddings=True, max_position_embeddings=8192, **more,
    )
    with torch.device("cuda"):
        torch.set_default_dtype(torch.bfloat16)
        model = LlamaForCausalLM._from_config(config, attn_implementation="sdpa")
        torch.set_default_dtype(torch.float32)
    return model


def step():
    """A whole step of the 1B model: eight micro-batches of 2 × 4,096 tokens, clip, AdamW, all in bf16."""
    model = llama()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    loss = torch.compile(lambda ids: model(input_ids=ids, labels=ids, use_cache=False).loss)
    ids = torch.randint(0, 128256, (2, 4096), device="cuda")

    def work():
        for _ in range(8):
            (loss(ids) / 8).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return work


def decode(batch):
    """One pass over `batch` rows with 1,023 tokens in a static cache."""
    from transformers import StaticCache

    model = llama().eval()
    cache = StaticCache(config=model.config, max_cache_len=1088)
    ids = torch.randint(0, 128256, (batch, 1023), device="cuda")
    with torch.inference_mode():
        model(input_ids=ids, past_key_values=cache, cache_position=torch.arange(1023, device="cuda"), logits_to_keep=1)
    one, at = ids[:, :1].contiguous(), torch.tensor([1023], device="cuda")
    compiled = torch.compile(model, mode="reduce-overhead")

    @torch.inference_mode()
    def work():
        compiled(input_ids=one, past_key_values=cache, cache_position=at, logits_to_keep=1).logits.argmax(-1)

    return work


# Case of `bench` (None where we have none), and what makes theirs. The most telling first.
CASES = [
    ("linear_residual/8b/down/8192x4096x14336", lambda: matmul(8192, 4096, 14336)),
    ("attention/8b/8192x32x128", lambda: attention(8192, 32, 8, 128, False)),
    ("attention_backward/8b/8192x32x128", lambda: attention(8192, 32, 8, 128, True)),
    ("copy/536870912", copy),
    ("linear_residual/1b/down/8192x2048x8192", lambda: matmul(8192, 2048, 8192)),
    ("attention/1b/8192x32x64", lambda: attention(8192, 32, 8, 64, False)),
    ("attention_backward/1b/8192x32x64", lambda: attention(8192, 32, 8, 64, True)),
    ("step/1b/2x4096", step),
    ("decode/1b/1", lambda: decode(1)),
    ("decode/1b/32", lambda: decode(32)),
    ("decode/1b/256", lambda: decode(256)),
    ("linear_residual/8b/down/32x4096x14336", lambda: matmul(32, 4096, 14336)),
]


def ours(engine, case, seconds):
    """Samples of one process."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "lines.jsonl"
        model = case.split("/")[1]
        command = [engine, "bench", case, "--device", "cuda", "--measure-only", "--model", model, "--output", str(out)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=max(seconds, 1))
        rows = [json.loads(line) for line in out.read_text().splitlines()]
    return [sample for row in rows if row["case"] == case for sample in row.get("microseconds", [])]


def main():
    options = arguments()
    end = time.monotonic() + options.seconds
    device = torch.cuda.get_device_name()
    with open(options.out, "a") as file:

        def line(case, samples, **more):
            row = {"device": device, "case": case, "microseconds": sorted(samples), **more}
            file.write(json.dumps(row) + "\n")
            file.flush()
            print(f"{case:48} {more.get('peer', 'ours'):24} {sorted(samples)[len(samples) // 2]:12.1f} µs", flush=True)

        for case, make in CASES:
            if time.monotonic() > end:
                print(f"{case}: no time left")
                continue
            mine, theirs = [], []
            try:
                for _ in range(ROUNDS):
                    if not case.startswith("copy"):
                        mine += ours(options.engine, case, end - time.monotonic())
                    work = make()
                    theirs.append(timed(work))
                    del work
                    torch.cuda.empty_cache()
                    if time.monotonic() > end:
                        break
            except Exception as error:  # a library that is not here, or memory that does not suffice
                print(f"{case}: left out: {type(error).__name__}: {error}", flush=True)
            if mine:
                line(case, mine)
            if theirs:
                line(case, theirs, peer=f"torch {torch.__version__}")


main()
