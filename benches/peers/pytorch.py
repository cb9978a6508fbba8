"""The peer's side of a sitting: the same work as `examples/peer.rs`, in PyTorch and transformers.

Each class is ready to be timed once it is made, and does one turn a call.
"""

import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.generation.streamers import BaseStreamer
from transformers.initialization import no_init_weights


def timed(work):
    """Seconds that `work` took, and what it gave back."""
    start = time.perf_counter()
    outcome = work()
    return time.perf_counter() - start, outcome


class Matmul:
    """The three products of a linear layer y[M,N] = x[M,K]·W[N,K]ᵀ in f32, results in place."""

    def __init__(self, m, n, k):
        x, dy, weight = torch.randn(m, k), torch.randn(m, n), torch.randn(n, k)
        y, dx, dweight = torch.empty(m, n), torch.empty(m, k), torch.empty(n, k)
        self.products = {
            "forward": lambda: torch.mm(x, weight.t(), out=y),
            "input": lambda: torch.mm(dy, weight, out=dx),
            "weight": lambda: torch.mm(dy.t(), x, out=dweight),
        }

    @torch.no_grad()
    def turn(self, product, repetitions):
        """Seconds of each repetition, after one that only warms the caches up."""
        work = self.products[product]
        work()
        return [timed(work)[0] for _ in range(repetitions)]


class Training:
    """Steps on one batch: forward, backward, clipping at norm 1 and AdamW, as a training script has them."""

    def __init__(self, config, ids, optimizer, seed=1, compiled=False):
        torch.manual_seed(seed)
        self.model = LlamaForCausalLM._from_config(LlamaConfig(**config), attn_implementation="sdpa")
        self.model.train()
        self.forward = torch.compile(self.model) if compiled else self.model
        self.ids = torch.tensor(ids)
        parameters = list(self.model.parameters())
        groups = [
            {"params": [p for p in parameters if p.dim() == 2], "weight_decay": optimizer["weight_decay"]},
            {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0},
        ]
        betas = (optimizer["beta1"], optimizer["beta2"])
        self.adamw = torch.optim.AdamW(groups, lr=optimizer["lr"], betas=betas, eps=optimizer["eps"], fused=True)
        self.clip = optimizer["clip"]

    def save(self, folder):
        """Writes the weights, so that the other side starts from the same."""
        self.model.save_pretrained(folder)

    def turn(self):
        """Seconds of one step, and its loss before the update."""
        return timed(self._step)

    def _step(self):
        loss = self.forward(input_ids=self.ids, labels=self.ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)
        return loss.item()


class _Clock(BaseStreamer):
    """Notes when each token arrives."""

    def __init__(self):
        self.times = []

    def put(self, value):
        self.times.append(time.perf_counter())

    def end(self):
        pass


class Decoding:
    """Greedy continuation of one prompt with a KV cache."""

    def __init__(self, config, dtype):
        config = LlamaConfig(**config, dtype=dtype)
        with no_init_weights():
            self.model = LlamaForCausalLM._from_config(config, attn_implementation="sdpa").eval()
        assert self.model.dtype == getattr(torch, dtype), self.model.dtype
        # Drawing a billion numbers takes longer than the bench: matrices are cut from one block.
        noise = (torch.randn(1 << 20) * config.initializer_range).to(self.model.dtype)
        for parameter in self.model.parameters():
            if parameter.dim() == 1:
                torch.nn.init.ones_(parameter)
            else:
                for part in parameter.data.view(-1).split(len(noise)):
                    part.copy_(noise[: len(part)])

    @torch.inference_mode()
    def turn(self, prompt, tokens):
        """Seconds of each token after the first, which is the prefill's."""
        clock = _Clock()
        out = self.model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=False,
            # No token ends it early.
            min_new_tokens=tokens,
            max_new_tokens=tokens,
            use_cache=True,
            pad_token_id=0,
            streamer=clock,
        )
        assert out.shape[1] == len(prompt) + tokens
        arrived = clock.times[1:]  # the first is the prompt's
        return [b - a for a, b in zip(arrived, arrived[1:])]
