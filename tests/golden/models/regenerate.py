#!/usr/bin/env python3
"""Writes the golden logits of the architectures with Hugging Face transformers as the oracle.

    python3 regenerate.py [architecture or variant ...]

Needs torch, transformers and numpy; the test suite itself needs none of them. Weights are those of
TinySpec in inference-worker/tools/synth_model.cc: keep the two alike.
"""

import pathlib
import sys

import numpy as np
import torch
import transformers

HERE = pathlib.Path(__file__).resolve().parent
MASK = (1 << 64) - 1
SEED = 1
PROMPT_TOKENS = 40
GREEDY_TOKENS = 64
MARGIN = 0.02


def mix(x):
    """The finaliser of splitmix64, over an array of uint64."""
    x = np.asarray(x, dtype=np.uint64)
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def tensor_seed(name):
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) & MASK
    return mix(value ^ SEED)


def uniform(name, count):
    index = np.arange(count, dtype=np.uint64)
    with np.errstate(over="ignore"):
        bits = mix(tensor_seed(name) + index * np.uint64(0x9E3779B97F4A7C15))
    return (bits >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)


def matrix(name, *shape):
    scale = np.float32(np.sqrt(3.0 / shape[-1]))
    return torch.from_numpy((scale * uniform(name, int(np.prod(shape)))).reshape(shape))


def norm(name, n):
    return torch.from_numpy(np.float32(1) + np.float32(0.25) * uniform(name, n))


def bias(name, n):
    return torch.from_numpy(np.float32(0.25) * uniform(name, n))


def unpermute(weight, heads):
    """llama GGUF files hold q and k rows in pairs; transformers wants the two halves."""
    out, inner = weight.shape
    return weight.reshape(heads, out // heads // 2, 2, inner).swapaxes(1, 2).reshape(out, inner)


class Shape:
    def __init__(self, architecture):
        self.layers, self.hidden, self.vocab, self.ffn = 2, 64, 128, 96
        self.heads, self.kv_heads = 4, 2
        self.head_dim = 32 if architecture.startswith("qwen3") else 16
        self.experts, self.experts_used, self.expert_ffn = 8, 2, 32


# Variants of an architecture's rotation: golden name → (architecture, rope parameters).
VARIANTS = {
    "llama3_rope": ("llama", {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0,
                              "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                              "original_max_position_embeddings": 64}),
    "yarn": ("qwen3", {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0,
                       "original_max_position_embeddings": 128}),
}


def make_config(architecture, s, rope):
    common = dict(
        vocab_size=s.vocab, hidden_size=s.hidden, intermediate_size=s.ffn,
        num_hidden_layers=s.layers, num_attention_heads=s.heads, num_key_value_heads=s.kv_heads,
        head_dim=s.head_dim, max_position_embeddings=512, rms_norm_eps=1e-5, rope_theta=10000.0,
        rope_parameters=rope or {"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=False, attn_implementation="eager", use_cache=True,
        bos_token_id=None, eos_token_id=None, pad_token_id=None)
    if architecture == "llama":
        return transformers.LlamaConfig(**common)
    if architecture == "qwen2":
        return transformers.Qwen2Config(**common)
    if architecture == "qwen3":
        return transformers.Qwen3Config(**common)
    if architecture == "qwen3moe":
        return transformers.Qwen3MoeConfig(
            **common, num_experts=s.experts, num_experts_per_tok=s.experts_used,
            moe_intermediate_size=s.expert_ffn, norm_topk_prob=True, decoder_sparse_step=1,
            mlp_only_layers=[])
    raise SystemExit(f"unknown architecture {architecture}")


def state_dict(architecture, s):
    state = {
        "model.embed_tokens.weight": matrix("token_embd.weight", s.vocab, s.hidden),
        "model.norm.weight": norm("output_norm.weight", s.hidden),
        "lm_head.weight": matrix("output.weight", s.vocab, s.hidden),
    }
    q, kv = s.heads * s.head_dim, s.kv_heads * s.head_dim
    for i in range(s.layers):
        gguf, hf = f"blk.{i}.", f"model.layers.{i}."
        w_q = matrix(gguf + "attn_q.weight", q, s.hidden)
        w_k = matrix(gguf + "attn_k.weight", kv, s.hidden)
        if architecture == "llama":
            w_q, w_k = unpermute(w_q, s.heads), unpermute(w_k, s.kv_heads)
        state[hf + "self_attn.q_proj.weight"] = w_q
        state[hf + "self_attn.k_proj.weight"] = w_k
        state[hf + "self_attn.v_proj.weight"] = matrix(gguf + "attn_v.weight", kv, s.hidden)
        state[hf + "self_attn.o_proj.weight"] = matrix(gguf + "attn_output.weight", s.hidden, q)
        if architecture == "qwen2":
            state[hf + "self_attn.q_proj.bias"] = bias(gguf + "attn_q.bias", q)
            state[hf + "self_attn.k_proj.bias"] = bias(gguf + "attn_k.bias", kv)
            state[hf + "self_attn.v_proj.bias"] = bias(gguf + "attn_v.bias", kv)
        if architecture.startswith("qwen3"):
            state[hf + "self_attn.q_norm.weight"] = norm(gguf + "attn_q_norm.weight", s.head_dim)
            state[hf + "self_attn.k_norm.weight"] = norm(gguf + "attn_k_norm.weight", s.head_dim)
        state[hf + "input_layernorm.weight"] = norm(gguf + "attn_norm.weight", s.hidden)
        state[hf + "post_attention_layernorm.weight"] = norm(gguf + "ffn_norm.weight", s.hidden)
        if architecture != "qwen3moe":
            for part in ("gate", "up"):
                state[hf + f"mlp.{part}_proj.weight"] = matrix(
                    gguf + f"ffn_{part}.weight", s.ffn, s.hidden)
            state[hf + "mlp.down_proj.weight"] = matrix(gguf + "ffn_down.weight", s.hidden, s.ffn)
            continue
        state[hf + "mlp.gate.weight"] = matrix(gguf + "ffn_gate_inp.weight", s.experts, s.hidden)
        gate = matrix(gguf + "ffn_gate_exps.weight", s.experts, s.expert_ffn, s.hidden)
        up = matrix(gguf + "ffn_up_exps.weight", s.experts, s.expert_ffn, s.hidden)
        down = matrix(gguf + "ffn_down_exps.weight", s.experts, s.hidden, s.expert_ffn)
        # Newer transformers fuse the experts of a layer, older ones keep them apart.
        state[hf + "mlp.experts.gate_up_proj"] = torch.cat([gate, up], dim=1)
        state[hf + "mlp.experts.down_proj"] = down
        for e in range(s.experts):
            state[hf + f"mlp.experts.{e}.gate_proj.weight"] = gate[e]
            state[hf + f"mlp.experts.{e}.up_proj.weight"] = up[e]
            state[hf + f"mlp.experts.{e}.down_proj.weight"] = down[e]
    return state


def load(architecture, rope=None):
    s = Shape(architecture)
    model = transformers.AutoModelForCausalLM.from_config(make_config(architecture, s, rope)).float()
    given = state_dict(architecture, s)
    wanted = model.state_dict()
    missing = [name for name in wanted if name not in given]
    wrong = [n for n in wanted if n in given and wanted[n].shape != given[n].shape]
    if missing or wrong:
        raise SystemExit(f"{architecture}: missing {missing}, other shape {wrong}")
    model.load_state_dict({name: given[name] for name in wanted})
    return model.eval(), s


@torch.no_grad()
def greedy(model, prompt):
    """The appended tokens, the logits of the prompt, the smallest lead of a best token."""
    tokens, lead, prompt_logits = list(prompt), float("inf"), None
    for _ in range(GREEDY_TOKENS):
        logits = model(torch.tensor([tokens])).logits[0]
        if prompt_logits is None:
            prompt_logits = logits.numpy().copy()
        best = torch.topk(logits[-1], 2).values
        lead = min(lead, (best[0] - best[1]).item())
        tokens.append(int(torch.argmax(logits[-1])))
    return tokens[len(prompt):], prompt_logits, lead


def rope_divisors(model, s):
    """By what each frequency is divided, as GGUF's rope_freqs.weight says it."""
    used = model.model.rotary_emb.inv_freq.double().numpy()
    plain = 10000.0 ** (-np.arange(0, s.head_dim, 2) / s.head_dim)
    return plain / used


def write(name):
    architecture, rope = VARIANTS.get(name, (name, None))
    model, s = load(architecture, rope)
    for attempt in range(2000):
        draws = mix(np.uint64(attempt * 1000) + np.arange(PROMPT_TOKENS, dtype=np.uint64))
        prompt = [int(x) for x in draws % np.uint64(s.vocab)]
        continuation, logits, lead = greedy(model, prompt)
        if lead >= MARGIN:
            break
    else:
        raise SystemExit(f"{name}: no prompt without near ties")
    path = HERE / f"{name}.txt"
    with path.open("w") as out:
        out.write(f"# transformers {transformers.__version__}, torch {torch.__version__}, "
                  f"smallest lead {lead:.4f}\n")
        out.write("prompt " + " ".join(map(str, prompt)) + "\n")
        out.write("greedy " + " ".join(map(str, continuation)) + "\n")
        if name == "llama3_rope":
            out.write("rope_freqs " + " ".join(f"{x:.9g}" for x in rope_divisors(model, s)) + "\n")
        for row in logits:
            out.write("logits " + " ".join(f"{x:.6g}" for x in row) + "\n")
    print(f"{path.name}: attempt {attempt}, lead {lead:.4f}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or ["llama", "qwen2", "qwen3", "qwen3moe", *VARIANTS]:
        write(name)
