"""Makes the golden files beside it.

Needs torch 2.9.1, transformers 5.23.0, safetensors 0.8.0 and numpy 2.4.6; nothing else of the project does.

    python make.py [DIRECTORY]        # default: the folder of this file

Each model has a folder <name>/ with
  config.json, *.safetensors   what transformers loads: random weights of a scale at which mistakes show
  golden.json                  inputs, losses, training run, greedy continuation
  golden.safetensors           "logprobs" and one "grad.<tensor>" for each weight, in float32
Everything is computed by transformers with eager attention in float32 on one thread, from the weights on
disk; the same in float64 says how far float32 itself is from the truth, and is printed and recorded.
rope.json has transformers' inverse frequencies, cosines and sines for each scaling.
"""

import json
import math
import pathlib
import shutil
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "attention_bias": False,
    "attention_dropout": 0.0,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "mlp_bias": False,
    "pretraining_tp": 1,
    "use_cache": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

# Odd shapes on purpose: one KV head of three, a head width that is not hidden / heads, vocabularies that are
# no multiple of anything, documents longer than one block of 128 keys.
MODELS = {
    "llama3_gqa": dict(
        config=LLAMA | {
            "hidden_size": 48,
            "intermediate_size": 56,
            "num_hidden_layers": 3,
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            "head_dim": 8,
            "vocab_size": 131,
            "max_position_embeddings": 256,
            "rms_norm_eps": 1e-05,
            "rope_theta": 10000.0,
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 4.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
            "tie_word_embeddings": False,
            "torch_dtype": "float32",
            "eos_token_id": [2, 5],
            "transformers_version": "4.43.0",
        },
        dtype=torch.float32,
        documents=(150, 37),
        train=True,
    ),
    "llama_tied": dict(
        config=LLAMA | {
            "hidden_size": 40,
            "intermediate_size": 72,
            "num_hidden_layers": 2,
            "num_attention_heads": 5,
            "vocab_size": 300,
            "max_position_embeddings": 128,
            "rms_norm_eps": 1e-06,
            "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 500000.0},
            "tie_word_embeddings": True,
            "dtype": "float32",
            "transformers_version": "5.23.0",
        },
        dtype=torch.float32,
        documents=(33, 70),
        shards=2,
    ),
    "qwen2_bias": dict(
        config={
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "attention_dropout": 0.0,
            "bos_token_id": 3,
            "eos_token_id": 4,
            "hidden_act": "silu",
            "hidden_size": 48,
            "initializer_range": 0.02,
            "intermediate_size": 88,
            "max_position_embeddings": 192,
            "max_window_layers": 2,
            "num_attention_heads": 6,
            "num_hidden_layers": 2,
            "num_key_value_heads": 2,
            "rms_norm_eps": 1e-06,
            "rope_theta": 1000000.0,
            "sliding_window": 131072,
            "tie_word_embeddings": True,
            "torch_dtype": "bfloat16",
            "use_cache": True,
            "use_sliding_window": False,
            "vocab_size": 259,
            "transformers_version": "4.40.1",
        },
        dtype=torch.bfloat16,
        documents=(130, 5),
        train=True,
    ),
    "llama2_f16": dict(
        config={key: LLAMA[key] for key in ("architectures", "model_type", "hidden_act")} | {
            "hidden_size": 32,
            "intermediate_size": 40,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "vocab_size": 97,
            "max_position_embeddings": 64,
            "rms_norm_eps": 1e-05,
            "rope_scaling": None,
            "torch_dtype": "float16",
        },
        dtype=torch.float16,
        documents=(9, 40),
        inv_freq=True,
    ),
}


def weights(model, dtype, generator):
    """Random weights by name, tied ones once."""
    tensors = {}
    tied = model.config.tie_word_embeddings
    for name, old in model.state_dict().items():
        if tied and name == "lm_head.weight":
            continue
        noise = torch.randn(old.shape, generator=generator)
        if old.dim() == 2:
            value = 0.3 * noise
        elif name.endswith(".bias"):
            value = 0.1 * noise
        else:
            value = 1.0 + 0.2 * noise
        tensors[name] = value.to(dtype).contiguous()
    return tensors


def save(folder, spec, tensors):
    """As transformers lays a checkpoint out, written with the format's own library."""
    metadata = {"format": "pt"}
    if spec.get("inv_freq"):
        config = spec["config"]
        width = config["hidden_size"] // config["num_attention_heads"]
        frequencies = 1.0 / 10000.0 ** (torch.arange(0, width, 2).float() / width)
        tensors = tensors | {"model.layers.0.self_attn.rotary_emb.inv_freq": frequencies}
    count = spec.get("shards", 1)
    if count == 1:
        save_file(tensors, folder / "model.safetensors", metadata)
        return
    names = list(tensors)
    weight_map = {}
    for i in range(count):
        part = names[i * len(names) // count : (i + 1) * len(names) // count]
        file = f"model-{i + 1:05}-of-{count:05}.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file, metadata)
        weight_map |= {name: file for name in part}
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    write_json(folder / "model.safetensors.index.json", index)


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def load(folder, dtype):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager")


def target_logprobs(model, documents):
    """log p(next token) of each document alone, concatenated."""
    out = []
    for ids in documents:
        logits = model(torch.tensor([ids]), use_cache=False).logits[0, :-1]
        logprobs = torch.log_softmax(logits, dim=-1)
        out.append(logprobs.gather(1, torch.tensor(ids[1:])[:, None])[:, 0])
    return torch.cat(out)


def forward_backward(folder, dtype, documents):
    model = load(folder, dtype)
    logprobs = target_logprobs(model, documents)
    loss = -logprobs.mean()
    loss.backward()
    grads = {name: p.grad for name, p in model.named_parameters()}
    return logprobs.detach(), loss.item(), grads


STEPS, WARMUP, PEAK, FINAL = 20, 5, 3e-3, 3e-4
ADAMW = dict(betas=(0.9, 0.95), eps=1e-8)
DECAY, CLIP = 0.1, 1.0


def rates():
    """Linear warm-up, then half a cosine from the peak to the final rate at the last step."""
    out = [PEAK * (s + 1) / WARMUP for s in range(WARMUP)]
    for s in range(WARMUP, STEPS):
        progress = (s + 1 - WARMUP) / (STEPS - WARMUP)
        out.append(FINAL + (PEAK - FINAL) * 0.5 * (1 + math.cos(math.pi * progress)))
    return out


def train(folder, dtype, batches):
    model = load(folder, dtype)
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    groups = [dict(params=matrices, weight_decay=DECAY), dict(params=vectors, weight_decay=0.0)]
    optimizer = torch.optim.AdamW(groups, lr=0.0, **ADAMW)
    losses, norms = [], []
    for lr, documents in zip(rates(), batches):
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        loss = -target_logprobs(model, documents).mean()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP).item())
        optimizer.step()
        losses.append(loss.item())
    return losses, norms


@torch.no_grad()
def greedy(folder, dtype, prompt, count):
    """The continuation, and how far the best logit stood above the second at least."""
    model = load(folder, dtype)
    ids, margin = list(prompt), math.inf
    for _ in range(count):
        best = model(torch.tensor([ids]), use_cache=False).logits[0, -1].topk(2)
        margin = min(margin, (best.values[0] - best.values[1]).item())
        ids.append(best.indices[0].item())
    return ids[len(prompt) :], margin


def relative(a, b):
    return ((a.double() - b.double()).norm() / b.double().norm()).item()


def make(root, name, spec, seed):
    folder = root / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_json(folder / "config.json", spec["config"])
    generator = torch.Generator().manual_seed(seed)
    skeleton = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    save(folder, spec, weights(skeleton, spec["dtype"], generator))

    vocab = spec["config"]["vocab_size"]
    tokens = lambda n: torch.randint(0, vocab, (n,), generator=generator).tolist()
    documents = [tokens(n) for n in spec["documents"]]
    prompt = tokens(7)
    single, double = torch.float32, torch.float64

    logprobs, loss, grads = forward_backward(folder, single, documents)
    logprobs64, loss64, grads64 = forward_backward(folder, double, documents)
    tensors = {f"grad.{k}": v.float().contiguous() for k, v in grads.items()}
    save_file(tensors | {"logprobs": logprobs.float()}, folder / "golden.safetensors")
    generated, margin = greedy(folder, single, prompt, 20)
    assert generated == greedy(folder, double, prompt, 20)[0] and margin > 0.01, margin

    error = {
        "logprobs_max": (logprobs.double() - logprobs64).abs().max().item(),
        "gradient_worst": max(relative(grads[k], grads64[k]) for k in grads),
    }
    golden = {
        "documents": documents,
        "loss": loss,
        "generate": {"prompt": prompt, "tokens": generated, "smallest_margin": margin},
        "float32_error": error,
    }
    if spec.get("train"):
        batches = [[tokens(24), tokens(17)] for _ in range(STEPS)]
        losses, norms = train(folder, single, batches)
        losses64, _ = train(folder, double, batches)
        error["training_loss_worst"] = max(abs(a / b - 1) for a, b in zip(losses, losses64))
        golden["train"] = {
            "betas": ADAMW["betas"],
            "eps": ADAMW["eps"],
            "weight_decay": DECAY,
            "clip": CLIP,
            "warmup_steps": WARMUP,
            "peak_lr": PEAK,
            "final_lr": FINAL,
            "lr": rates(),
            "batches": batches,
            "loss": losses,
            "grad_norm": norms,
        }
    text = json.dumps(golden, sort_keys=True)
    (folder / "golden.json").write_text(text.replace('], "', '],\n"') + "\n")
    print(name, f"loss {loss:.4f} ({loss64:.4f} in float64)", error, f"margin {margin:.3f}")


def make_rope(root):
    """Each scaling at the widths and numbers of known models; positions where float32 angles still hold."""
    llama3 = {
        "rope_type": "llama3",
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    cases = [
        (128, {"rope_type": "default", "rope_theta": 10000.0}),
        (80, {"rope_type": "default", "rope_theta": 1000000.0}),
        (64, {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}),
        (64, llama3 | {"rope_theta": 500000.0}),
        (128, llama3 | {"rope_theta": 500000.0, "factor": 8.0}),
    ]
    positions = [0, 1, 2, 17, 100]
    out = []
    for head_dim, parameters in cases:
        value = {
            "model_type": "llama",
            "hidden_size": 2 * head_dim,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "vocab_size": 8,
            "max_position_embeddings": 131072,
            "rope_parameters": parameters,
        }
        rope = LlamaRotaryEmbedding(AutoConfig.for_model(**json.loads(json.dumps(value))))
        cos, sin = rope(torch.zeros(1), torch.tensor([positions]))
        half = head_dim // 2
        out.append({
            "config": value,
            "head_dim": head_dim,
            "inv_freq": rope.inv_freq.tolist(),
            "positions": positions,
            "cos": cos[0, :, :half].tolist(),
            "sin": sin[0, :, :half].tolist(),
        })
    text = json.dumps(out, sort_keys=True)
    (root / "rope.json").write_text(text.replace('], "', '],\n"') + "\n")


if __name__ == "__main__":
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    for seed, (name, spec) in enumerate(MODELS.items()):
        make(root, name, spec, seed)
    make_rope(root)
