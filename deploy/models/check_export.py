#!/usr/bin/env python3
"""Check the exported file against independent implementations.

- its weights, dequantised, in Hugging Face's Qwen3MoeForCausalLM give the logits of model.py;
- the tokenizer agrees with Hugging Face's `tokenizers` set up as qwen2;
- chat_template.jinja, rendered by Jinja2, writes what the training saw.

Needs the Python packages gguf, transformers, tokenizers and jinja2.
"""
import argparse
import random
from pathlib import Path

import torch

import chat
import corpus
from model import Config, Model
from tokenizer import SPECIAL, Tokenizer

HERE = Path(__file__).resolve().parent
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def read(path):
    import gguf

    reader = gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    tensors = {}
    for tensor in reader.tensors:
        data = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        tensors[tensor.name] = torch.tensor(data).float()
    return fields, tensors


def config_of(fields):
    def key(name):
        return fields["qwen3moe." + name]

    return Config(vocab_size=key("vocab_size"), hidden=key("embedding_length"), layers=key("block_count"),
                  heads=key("attention.head_count"), kv_heads=key("attention.head_count_kv"),
                  head_dim=key("attention.key_length"), experts=key("expert_count"), experts_used=key("expert_used_count"),
                  expert_ffn=key("expert_feed_forward_length"), context=key("context_length"),
                  rope_base=key("rope.freq_base"), eps=key("attention.layer_norm_rms_epsilon"))


def our_model(config, tensors):
    state = {"embed.weight": tensors["token_embd.weight"], "norm.weight": tensors["output_norm.weight"]}
    for layer in range(config.layers):
        def part(name):
            return tensors[f"blk.{layer}.{name}.weight"]

        state.update({f"blocks.{layer}.{name}": tensor for name, tensor in {
            "attn_norm.weight": part("attn_norm"), "ffn_norm.weight": part("ffn_norm"),
            "attn.qkv_proj.weight": torch.cat((part("attn_q"), part("attn_k"), part("attn_v"))),
            "attn.o_proj.weight": part("attn_output"), "attn.q_norm.weight": part("attn_q_norm"),
            "attn.k_norm.weight": part("attn_k_norm"), "ffn.router.weight": part("ffn_gate_inp"),
            "ffn.gate_up": torch.cat((part("ffn_gate_exps"), part("ffn_up_exps")), dim=1),
            "ffn.down": part("ffn_down_exps")}.items()})
    model = Model(config)
    model.load_state_dict(state)
    return model.eval()


def oracle_model(config, tensors):
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    oracle = Qwen3MoeForCausalLM(Qwen3MoeConfig(
        vocab_size=config.vocab_size, hidden_size=config.hidden, intermediate_size=config.expert_ffn,
        num_hidden_layers=config.layers, num_attention_heads=config.heads, num_key_value_heads=config.kv_heads,
        head_dim=config.head_dim, max_position_embeddings=config.context, rms_norm_eps=config.eps,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_base}, rope_theta=config.rope_base,
        tie_word_embeddings=True, moe_intermediate_size=config.expert_ffn, num_experts=config.experts,
        num_experts_per_tok=config.experts_used, norm_topk_prob=True, decoder_sparse_step=1, attention_bias=False))
    state = {"model.embed_tokens.weight": tensors["token_embd.weight"], "model.norm.weight": tensors["output_norm.weight"],
             "lm_head.weight": tensors["token_embd.weight"]}
    names = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
             "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
             "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm", "ffn_gate_inp": "mlp.gate"}
    fused = any("experts.gate_up_proj" in name for name in oracle.state_dict())
    for layer in range(config.layers):
        blk, theirs = f"blk.{layer}.", f"model.layers.{layer}."
        for mine, other in names.items():
            state[f"{theirs}{other}.weight"] = tensors[f"{blk}{mine}.weight"]
        gate, up, down = (tensors[f"{blk}ffn_{kind}_exps.weight"] for kind in ("gate", "up", "down"))
        if fused:
            state[theirs + "mlp.experts.gate_up_proj"] = torch.cat((gate, up), dim=1)
            state[theirs + "mlp.experts.down_proj"] = down
            continue
        for expert in range(config.experts):
            for kind, weight in (("gate", gate), ("up", up), ("down", down)):
                state[f"{theirs}mlp.experts.{expert}.{kind}_proj.weight"] = weight[expert]
    oracle.load_state_dict(state)
    return oracle.eval()


def oracle_tokenizer(fields):
    from tokenizers import AddedToken, Regex, Tokenizer as Oracle, decoders, models, pre_tokenizers

    tokens = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    oracle = Oracle(models.BPE({token: index for index, token in enumerate(tokens)}, merges))
    oracle.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN2), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    oracle.decoder = decoders.ByteLevel()
    oracle.add_tokens([AddedToken(token, special=False, normalized=False) for token in SPECIAL])
    return oracle


def sample_texts(count):
    rng, weights = random.Random(99), corpus.parse_weights("")
    for _ in range(count):
        messages, tools = corpus.conversation(rng, weights)
        yield messages, tools, "".join(text for text, _ in chat.segments(messages, tools))


def check_tokenizer(fields, tokenizer):
    oracle = oracle_tokenizer(fields)
    odd = ["naïve café über 12_34 __init__ don't WE'LL x=3;\n\n\ty", "日本 → 数字 ½ €5", "  two  spaces \r\n end  "]
    for text in [text for _, _, text in sample_texts(500)] + odd:
        assert tokenizer.encode(text) == oracle.encode(text, add_special_tokens=False).ids, text
        assert tokenizer.decode(tokenizer.encode(text)) == text


def template_messages(messages):
    """Our messages in the form of the OpenAI API."""
    out = []
    for message in messages:
        copy = {"role": message["role"], "content": message["content"]}
        if "tool_calls" in message:
            copy["tool_calls"] = [{"type": "function", "function": call} for call in message["tool_calls"]]
        out.append(copy)
    return out


def check_template(source):
    import jinja2

    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = chat.to_json
    template = environment.from_string(source)
    for messages, tools, text in sample_texts(500):
        if any("parts" in message or "think" in message or "prefix" in message for message in messages):
            continue
        rendered = template.render(messages=template_messages(messages), tools=tools)
        assert rendered == text, f"{rendered!r}\n{text!r}"
    hello = [{"role": "user", "content": "Hi"}]
    for value, ending in ((True, "<think>\n"), (False, "<think>\n\n</think>\n\n"), (None, "")):
        extra = {} if value is None else {"enable_thinking": value}
        rendered = template.render(messages=hello, add_generation_prompt=True, **extra)
        assert rendered == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n" + ending, repr(rendered)


@torch.no_grad()
def check_logits(config, tensors, tokenizer):
    mine, oracle, worst = our_model(config, tensors), oracle_model(config, tensors), 0.0
    for _, _, text in sample_texts(20):
        ids = torch.tensor([tokenizer.encode(text)])
        a, b = mine(ids), oracle(ids).logits
        worst = max(worst, ((a - b).abs().max() / b.abs().max()).item())
    assert worst < 1e-4, worst
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gguf", nargs="?", default=HERE / "conclave-teacher.gguf")
    options = parser.parse_args()
    fields, tensors = read(options.gguf)
    tokenizer = Tokenizer([merge.split(" ") for merge in fields["tokenizer.ggml.merges"]])
    assert tokenizer.tokens == fields["tokenizer.ggml.tokens"]
    check_tokenizer(fields, tokenizer)
    check_template(fields["tokenizer.chat_template"])
    worst = check_logits(config_of(fields), tensors, tokenizer)
    print(f"tokenizer and template agree; logits agree to {worst:.1e} of their largest")


if __name__ == "__main__":
    main()
