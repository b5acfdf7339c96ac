"""The tiny models: their numbers, their configurations and their weights as transformers has them.

Numbers and names of tensors are those of TinySpec in inference-worker/tools/synth_shapes.cc and
synth_model.cc: keep the two alike.
"""

import dataclasses

import torch
import transformers

from tiny_values import bias, matrix, norm


@dataclasses.dataclass
class Tiny:
    """The numbers of a model. `config` is the class of transformers, `more` its own fields."""

    config: type
    more: dict = dataclasses.field(default_factory=dict)
    layers: int = 2
    hidden: int = 64
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 16
    ffn: int = 96
    vocab: int = 128
    context: int = 512
    eps: float = 1e-5
    rope: dict = dataclasses.field(
        default_factory=lambda: {"rope_type": "default", "rope_theta": 10000.0})
    tied: bool = False
    # Where tensors are called otherwise or lie otherwise than in qwen2.
    pairs: bool = False  # GGUF holds rows of q and k in pairs, transformers in halves
    qkv_bias: bool = False
    output_bias: bool = False
    sinks: bool = False
    qk_norm: str = ""  # "", "head" or "row"
    norms: dict = dataclasses.field(default_factory=lambda: {
        "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"})
    norm_shift: float = 0.0  # of GGUF over transformers
    # Latent attention; heads are nope + rope wide
    kv_lora: int = 0
    q_lora: int = 0
    nope: int = 0
    rope_dim: int = 0
    value_dim: int = 0
    whole_kv_b: bool = False  # GGUF has attn_kv_b instead of attn_k_b and attn_v_b
    # Experts
    experts: int = 0
    expert_ffn: int = 0
    leading_dense: int = 0
    shared_ffn: int = 0
    shared: str = "shared_experts"
    correction_bias: str = ""  # its name in transformers
    expert_bias: bool = False  # gpt-oss: biases, gate and up interleaved, everything transposed


def yarn(factor, original, theta=10000.0, **more):
    return {"rope_type": "yarn", "rope_theta": theta, "factor": factor,
            "original_max_position_embeddings": original, **more}


def deepseek(config, scale, **more):
    given = dict(layers=3, kv_heads=4, context=2560, eps=1e-6, kv_lora=32, nope=32, rope_dim=16,
                 head_dim=48, value_dim=16, experts=16, expert_ffn=32, leading_dense=1,
                 shared_ffn=64)
    rope = yarn(40.0, 64, beta_fast=32, beta_slow=1, mscale=0.707, mscale_all_dim=0.707)
    given.update({"rope": rope, **more})
    tiny = Tiny(config, **given)
    tiny.more = dict(
        kv_lora_rank=32, q_lora_rank=tiny.q_lora or None, qk_nope_head_dim=32, qk_rope_head_dim=16,
        v_head_dim=16, n_routed_experts=16, num_experts_per_tok=4, moe_intermediate_size=32,
        n_shared_experts=2, first_k_dense_replace=1, routed_scaling_factor=scale, **tiny.more)
    return tiny


def deepseek3(scale, groups, groups_used, rope):
    return deepseek(
        transformers.DeepseekV3Config, scale, q_lora=32, rope=rope, context=40 * 64,
        correction_bias="mlp.gate.e_score_correction_bias",
        more=dict(norm_topk_prob=True, n_group=groups, topk_group=groups_used))


def glm4moe(qk_norm):
    return Tiny(
        transformers.Glm4MoeConfig, layers=3, head_dim=32, qkv_bias=True,
        qk_norm="head" if qk_norm else "", experts=8, expert_ffn=32, leading_dense=1,
        shared_ffn=32, correction_bias="mlp.gate.e_score_correction_bias",
        norms={"attn_norm": "input_layernorm", "post_attention_norm": "post_attention_layernorm"},
        rope={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
        more=dict(attention_bias=True, use_qk_norm=qk_norm, n_routed_experts=8,
                  num_experts_per_tok=2, moe_intermediate_size=32, n_shared_experts=1,
                  first_k_dense_replace=1, norm_topk_prob=True, n_group=1, topk_group=1,
                  routed_scaling_factor=2.5 if qk_norm else 1.0))


def bloom(heads):
    return Tiny(transformers.BloomConfig, hidden=16 * heads, heads=heads, kv_heads=heads,
                ffn=64 * heads, tied=True)


def gemma3(layers, scalar):
    """Scores are divided by the root of `scalar`: of a head, of hidden / heads in the 27B alone."""
    return Tiny(
        transformers.Gemma3TextConfig, dict(sliding_window=10, query_pre_attn_scalar=scalar),
        layers=layers, head_dim=32, eps=1e-6, tied=True, qk_norm="head", norms=GEMMA3_NORMS,
        norm_shift=1.0,
        rope={"sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
              "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0}})


LLAMA3_ROPE = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
QWEN3_MOE = dict(num_experts=8, num_experts_per_tok=2, moe_intermediate_size=32,
                 norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[])
QWEN2_MOE = dict(num_experts=8, num_experts_per_tok=2, moe_intermediate_size=32,
                 norm_topk_prob=False, shared_expert_intermediate_size=64)
GEMMA3_NORMS = {"attn_norm": "input_layernorm", "post_attention_norm": "post_attention_layernorm",
                "ffn_norm": "pre_feedforward_layernorm", "post_ffw_norm": "post_feedforward_layernorm"}

MODELS = {
    "llama": Tiny(transformers.LlamaConfig, pairs=True),
    "qwen2": Tiny(transformers.Qwen2Config, qkv_bias=True),
    "qwen3": Tiny(transformers.Qwen3Config, head_dim=32, qk_norm="head"),
    "qwen3moe": Tiny(transformers.Qwen3MoeConfig, QWEN3_MOE, head_dim=32, qk_norm="head",
                     experts=8, expert_ffn=32),
    "llama3_rope": Tiny(transformers.LlamaConfig, pairs=True, rope=LLAMA3_ROPE),
    "yarn": Tiny(transformers.Qwen3Config, head_dim=32, qk_norm="head", rope=yarn(4.0, 128)),
    "mixtral": Tiny(transformers.MixtralConfig, dict(num_local_experts=8, num_experts_per_tok=2),
                    pairs=True, experts=8, expert_ffn=96),
    "mistral": Tiny(transformers.MistralConfig, dict(sliding_window=12), pairs=True),
    "qwen2moe": Tiny(transformers.Qwen2MoeConfig, QWEN2_MOE, qkv_bias=True, experts=8,
                     expert_ffn=32, shared_ffn=64, shared="shared_expert"),
    "deepseek2": deepseek3(2.5, 4, 2, yarn(40.0, 64, beta_fast=32, beta_slow=1, mscale=1.0,
                                           mscale_all_dim=1.0)),
    "deepseek2_kimi": deepseek3(2.827, 1, 1, yarn(32.0, 80, theta=50000.0, beta_fast=1, beta_slow=1,
                                                  mscale=1.0, mscale_all_dim=1.0)),
    "deepseek2_v2": deepseek(
        transformers.DeepseekV2Config, 16.0, q_lora=32,
        more=dict(topk_method="group_limited_greedy", n_group=4, topk_group=2)),
    "deepseek2_lite": deepseek(transformers.DeepseekV2Config, 1.0,
                               more=dict(topk_method="greedy", n_group=1, topk_group=1)),
    "deepseek2_kv_b": deepseek(transformers.DeepseekV2Config, 1.0, whole_kv_b=True,
                               more=dict(topk_method="greedy", n_group=1, topk_group=1)),
    "gpt-oss": Tiny(
        transformers.GptOssConfig,
        dict(num_local_experts=8, num_experts_per_tok=2, sliding_window=8, attention_bias=True),
        layers=4, context=8192, qkv_bias=True, output_bias=True, sinks=True, experts=8,
        expert_ffn=96, expert_bias=True,
        norms={"attn_norm": "input_layernorm", "post_attention_norm": "post_attention_layernorm"},
        rope=yarn(32.0, 256, theta=150000.0, beta_fast=32.0, beta_slow=1.0, truncate=False)),
    "glm4moe": glm4moe(False),
    "glm4moe_qk_norm": glm4moe(True),
    "minimax-m2": Tiny(
        transformers.MiniMaxM2Config,
        dict(num_local_experts=8, num_experts_per_tok=2, rotary_dim=16), head_dim=32, ffn=32,
        eps=1e-6, qk_norm="row", experts=8, expert_ffn=32,
        correction_bias="mlp.e_score_correction_bias",
        rope={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}),
    "bloom": bloom(4),
    "bloom_6_heads": bloom(6),
    "gemma3": gemma3(7, 32),
    "gemma3_27b": gemma3(62, 16),
}


def make_config(t):
    if t.config is transformers.BloomConfig:
        return t.config(
            vocab_size=t.vocab, hidden_size=t.hidden, n_layer=t.layers, n_head=t.heads,
            layer_norm_epsilon=t.eps, seq_length=t.context, attn_implementation="eager",
            bos_token_id=None, eos_token_id=None, pad_token_id=None)
    common = dict(
        vocab_size=t.vocab, hidden_size=t.hidden, intermediate_size=t.ffn,
        num_hidden_layers=t.layers, num_attention_heads=t.heads, num_key_value_heads=t.kv_heads,
        max_position_embeddings=t.context, rms_norm_eps=t.eps, rope_parameters=t.rope,
        tie_word_embeddings=t.tied, attn_implementation="eager", use_cache=True,
        bos_token_id=None, eos_token_id=None, pad_token_id=None)
    if not t.kv_lora:
        common["head_dim"] = t.head_dim
    return t.config(**common, **t.more)


def unpermute(weight, heads):
    """llama GGUF files hold q and k rows in pairs; transformers wants the two halves."""
    out, inner = weight.shape
    return weight.reshape(heads, out // heads // 2, 2, inner).swapaxes(1, 2).reshape(out, inner)


def attention(t, gguf):
    q, kv = t.heads * t.head_dim, t.kv_heads * t.head_dim
    w_q, w_k = matrix(gguf + "attn_q.weight", q, t.hidden), matrix(gguf + "attn_k.weight", kv, t.hidden)
    if t.pairs:
        w_q, w_k = unpermute(w_q, t.heads), unpermute(w_k, t.kv_heads)
    state = {"q_proj.weight": w_q, "k_proj.weight": w_k,
             "v_proj.weight": matrix(gguf + "attn_v.weight", kv, t.hidden),
             "o_proj.weight": matrix(gguf + "attn_output.weight", t.hidden, q)}
    if t.qkv_bias:
        state["q_proj.bias"] = bias(gguf + "attn_q.bias", q)
        state["k_proj.bias"] = bias(gguf + "attn_k.bias", kv)
        state["v_proj.bias"] = bias(gguf + "attn_v.bias", kv)
    if t.output_bias:
        state["o_proj.bias"] = bias(gguf + "attn_output.bias", t.hidden)
    if t.sinks:
        state["sinks"] = bias(gguf + "attn_sinks.weight", t.heads, scale=2)
    if t.qk_norm:
        heads, kv_heads = (t.heads, t.kv_heads) if t.qk_norm == "row" else (1, 1)
        state["q_norm.weight"] = norm(gguf + "attn_q_norm.weight", heads * t.head_dim) - t.norm_shift
        state["k_norm.weight"] = norm(gguf + "attn_k_norm.weight", kv_heads * t.head_dim) - t.norm_shift
    return {"self_attn." + name: value for name, value in state.items()}


def latent_attention(t, gguf):
    q, latent = t.heads * t.head_dim, t.kv_lora
    if t.q_lora:
        state = {"q_a_proj.weight": matrix(gguf + "attn_q_a.weight", t.q_lora, t.hidden),
                 "q_a_layernorm.weight": norm(gguf + "attn_q_a_norm.weight", t.q_lora),
                 "q_b_proj.weight": matrix(gguf + "attn_q_b.weight", q, t.q_lora)}
    else:
        state = {"q_proj.weight": matrix(gguf + "attn_q.weight", q, t.hidden)}
    if t.whole_kv_b:
        kv_b = matrix(gguf + "attn_kv_b.weight", t.heads * (t.nope + t.value_dim), latent)
    else:
        k_b = matrix(gguf + "attn_k_b.weight", t.heads, latent, t.nope)
        v_b = matrix(gguf + "attn_v_b.weight", t.heads, t.value_dim, latent)
        kv_b = torch.cat([k_b.transpose(1, 2), v_b], dim=1).reshape(-1, latent)
    state["kv_b_proj.weight"] = kv_b
    state["kv_a_proj_with_mqa.weight"] = matrix(
        gguf + "attn_kv_a_mqa.weight", latent + t.rope_dim, t.hidden)
    state["kv_a_layernorm.weight"] = norm(gguf + "attn_kv_a_norm.weight", latent)
    state["o_proj.weight"] = matrix(gguf + "attn_output.weight", t.hidden, t.heads * t.value_dim)
    return {"self_attn." + name: value for name, value in state.items()}


def gated(t, gguf, suffix, prefix, ffn):
    """The three matrices of a dense feed-forward or a shared expert."""
    state = {f"{prefix}.{part}_proj.weight": matrix(f"{gguf}ffn_{part}{suffix}.weight", ffn, t.hidden)
             for part in ("gate", "up")}
    state[f"{prefix}.down_proj.weight"] = matrix(f"{gguf}ffn_down{suffix}.weight", t.hidden, ffn)
    return state


def experts(t, gguf):
    router = matrix(gguf + "ffn_gate_inp.weight", t.experts, t.hidden)
    gate = matrix(gguf + "ffn_gate_exps.weight", t.experts, t.expert_ffn, t.hidden)
    up = matrix(gguf + "ffn_up_exps.weight", t.experts, t.expert_ffn, t.hidden)
    down = matrix(gguf + "ffn_down_exps.weight", t.experts, t.hidden, t.expert_ffn)
    if t.expert_bias:
        # Wide enough that some of what they shift is clamped at 7.
        gate_b = bias(gguf + "ffn_gate_exps.bias", t.experts, t.expert_ffn, scale=6)
        up_b = bias(gguf + "ffn_up_exps.bias", t.experts, t.expert_ffn, scale=6)
        return {
            "mlp.router.weight": router,
            "mlp.router.bias": bias(gguf + "ffn_gate_inp.bias", t.experts),
            "mlp.experts.gate_up_proj": torch.stack([gate, up], dim=2).flatten(1, 2).mT.contiguous(),
            "mlp.experts.gate_up_proj_bias": torch.stack([gate_b, up_b], dim=2).flatten(1, 2),
            "mlp.experts.down_proj": down.mT.contiguous(),
            "mlp.experts.down_proj_bias": bias(gguf + "ffn_down_exps.bias", t.experts, t.hidden)}
    state = {"mlp.gate.weight": router, "mlp.experts.gate_up_proj": torch.cat([gate, up], dim=1),
             "mlp.experts.down_proj": down}
    if t.correction_bias:
        state[t.correction_bias] = bias(gguf + "exp_probs_b.bias", t.experts)
    if t.shared_ffn:
        state.update(gated(t, gguf, "_shexp", "mlp." + t.shared, t.shared_ffn))
    if t.shared == "shared_expert":
        state["mlp.shared_expert_gate.weight"] = matrix(
            gguf + "ffn_gate_inp_shexp.weight", t.hidden)[None, :]
    return state


def decoder_state(t):
    state = {"model.embed_tokens.weight": matrix("token_embd.weight", t.vocab, t.hidden),
             "model.norm.weight": norm("output_norm.weight", t.hidden) - t.norm_shift}
    state["lm_head.weight"] = (state["model.embed_tokens.weight"] if t.tied else
                               matrix("output.weight", t.vocab, t.hidden))
    for i in range(t.layers):
        gguf = f"blk.{i}."
        layer = latent_attention(t, gguf) if t.kv_lora else attention(t, gguf)
        for ours, theirs in t.norms.items():
            layer[theirs + ".weight"] = norm(gguf + ours + ".weight", t.hidden) - t.norm_shift
        dense = not t.experts or i < t.leading_dense
        layer.update(gated(t, gguf, "", "mlp", t.ffn) if dense else experts(t, gguf))
        state.update({f"model.layers.{i}.{name}": value for name, value in layer.items()})
    return state


def bloom_state(t):
    def pair(ours, theirs, n):
        return {theirs + ".weight": norm(ours + ".weight", n), theirs + ".bias": bias(ours + ".bias", n)}

    def linear(ours, theirs, out, inner):
        return {theirs + ".weight": matrix(ours + ".weight", out, inner),
                theirs + ".bias": bias(ours + ".bias", out)}

    h = t.hidden
    embedding = matrix("token_embd.weight", t.vocab, h)
    state = {"lm_head.weight": embedding, "transformer.word_embeddings.weight": embedding}
    state.update(pair("token_embd_norm", "transformer.word_embeddings_layernorm", h))
    # Of either sign: the head is the table of embeddings, and would answer every token with itself.
    state["transformer.word_embeddings_layernorm.weight"] = bias("token_embd_norm.weight", h, scale=1)
    state.update(pair("output_norm", "transformer.ln_f", h))
    for i in range(t.layers):
        ours, theirs = f"blk.{i}.", f"transformer.h.{i}."
        state.update(pair(ours + "attn_norm", theirs + "input_layernorm", h))
        state.update(pair(ours + "ffn_norm", theirs + "post_attention_layernorm", h))
        state.update(linear(ours + "attn_output", theirs + "self_attention.dense", h, h))
        state.update(linear(ours + "ffn_up", theirs + "mlp.dense_h_to_4h", t.ffn, h))
        state.update(linear(ours + "ffn_down", theirs + "mlp.dense_4h_to_h", h, t.ffn))
        # GGUF holds all of q, then k, then v; transformers the three of each head.
        for part in linear(ours + "attn_qkv", "", 3 * h, h).items():
            split = part[1].reshape(3, t.heads, t.head_dim, -1).swapaxes(0, 1)
            state[theirs + "self_attention.query_key_value" + part[0]] = split.reshape(part[1].shape)
    return state


def load(name):
    """The model of that name with its weights, ready to run."""
    t = MODELS[name]
    model = transformers.AutoModelForCausalLM.from_config(make_config(t)).float()
    given = bloom_state(t) if t.config is transformers.BloomConfig else decoder_state(t)
    wanted = model.state_dict()
    missing = [n for n in wanted if n not in given]
    unused = [n for n in given if n not in wanted]
    wrong = [n for n in wanted if n in given and wanted[n].shape != given[n].shape]
    if missing or unused or wrong:
        raise SystemExit(f"{name}: missing {missing}, unused {unused}, other shape {wrong}")
    model.load_state_dict(given)
    return model.eval(), t
