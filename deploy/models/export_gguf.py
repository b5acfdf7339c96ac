#!/usr/bin/env python3
"""Write a checkpoint of train.py as a Q8_0 GGUF of the qwen3moe architecture (needs the `gguf` Python package)."""
import argparse
from pathlib import Path

import gguf
import torch

from model import Config
from tokenizer import SPECIAL, Tokenizer

HERE = Path(__file__).resolve().parent
CONTROL = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}


def tensors(config, state):
    """GGUF name → float tensor. Gate and up, and q, k and v, are stored apart."""
    q_size, kv_size = config.heads * config.head_dim, config.kv_heads * config.head_dim
    yield "token_embd.weight", state["embed.weight"]
    yield "output_norm.weight", state["norm.weight"]
    for layer in range(config.layers):
        mine, theirs = f"blocks.{layer}.", f"blk.{layer}."
        q, k, v = state[mine + "attn.qkv_proj.weight"].split((q_size, kv_size, kv_size))
        gate, up = state[mine + "ffn.gate_up"].chunk(2, dim=1)
        yield theirs + "attn_norm.weight", state[mine + "attn_norm.weight"]
        yield theirs + "attn_q.weight", q
        yield theirs + "attn_k.weight", k
        yield theirs + "attn_v.weight", v
        yield theirs + "attn_output.weight", state[mine + "attn.o_proj.weight"]
        yield theirs + "attn_q_norm.weight", state[mine + "attn.q_norm.weight"]
        yield theirs + "attn_k_norm.weight", state[mine + "attn.k_norm.weight"]
        yield theirs + "ffn_norm.weight", state[mine + "ffn_norm.weight"]
        yield theirs + "ffn_gate_inp.weight", state[mine + "ffn.router.weight"]
        yield theirs + "ffn_gate_exps.weight", gate
        yield theirs + "ffn_up_exps.weight", up
        yield theirs + "ffn_down_exps.weight", state[mine + "ffn.down"]


def write_description(writer, config):
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name("Conclave Teacher")
    writer.add_author("The Conclave authors")
    writer.add_license("apache-2.0")
    writer.add_description("A small mixture of experts for second-grade math, made from generated text")
    writer.add_languages(["en"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.hidden)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.expert_ffn)
    writer.add_expert_feed_forward_length(config.expert_ffn)
    writer.add_expert_count(config.experts)
    writer.add_expert_used_count(config.experts_used)
    writer.add_expert_weights_norm(True)
    writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SOFTMAX)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_base)


def token_type(token):
    if token in CONTROL:
        return gguf.TokenType.CONTROL
    return gguf.TokenType.USER_DEFINED if token in SPECIAL else gguf.TokenType.NORMAL


def write_tokenizer(writer, tokenizer, template):
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokenizer.tokens)
    writer.add_token_types([token_type(token) for token in tokenizer.tokens])
    writer.add_token_merges([" ".join(merge) for merge in tokenizer.merges])
    writer.add_bos_token_id(tokenizer.ids["<|endoftext|>"])
    writer.add_eos_token_id(tokenizer.ids["<|im_end|>"])
    writer.add_eot_token_id(tokenizer.ids["<|im_end|>"])
    writer.add_pad_token_id(tokenizer.ids["<|endoftext|>"])
    writer.add_add_bos_token(False)
    writer.add_chat_template(template)


def write_tensors(writer, config, state):
    for name, tensor in tensors(config, state):
        data = tensor.float().contiguous().numpy()
        if data.ndim == 1 or name.endswith("ffn_gate_inp.weight"):
            writer.add_tensor(name, data)
            continue
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(name, gguf.quants.quantize(data, kind), raw_dtype=kind)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="run/checkpoint.pt")
    parser.add_argument("--merges", default=HERE / "merges.json")
    parser.add_argument("--template", default=HERE / "chat_template.jinja")
    parser.add_argument("--out", default=HERE / "conclave-teacher.gguf")
    options = parser.parse_args()
    saved = torch.load(options.checkpoint, map_location="cpu")
    config = Config(**saved["config"])
    writer = gguf.GGUFWriter(str(options.out), "qwen3moe")
    write_description(writer, config)
    write_tokenizer(writer, Tokenizer.load(options.merges), Path(options.template).read_text().rstrip("\n"))
    write_tensors(writer, config, saved["model"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"step {saved['step']} → {options.out}, {Path(options.out).stat().st_size} bytes")


if __name__ == "__main__":
    main()
