"""A small qwen3moe in plain PyTorch: the equations of Hugging Face's Qwen3MoeForCausalLM, arranged for a CPU.

Tokens are sorted by expert, so each expert is one matrix product over its own rows, and the logits are computed
only where the loss needs them. Where a GPU computes instead, what differs is said at the place.
"""
import math
from dataclasses import asdict, dataclass

import torch
from torch import nn
from torch.nn import functional as F


ROWS = 128


@dataclass
class Config:
    vocab_size: int = 2048
    hidden: int = 256
    layers: int = 4
    heads: int = 8
    kv_heads: int = 4
    head_dim: int = 32
    experts: int = 8
    experts_used: int = 2
    expert_ffn: int = 256
    context: int = 2048
    rope_base: float = 10000.0
    eps: float = 1e-6

    def to_dict(self):
        return asdict(self)


class RmsNormFunction(torch.autograd.Function):
    """x / rms(x) * weight with a hand-written backward: a third of autograd's passes over memory."""

    @staticmethod
    def forward(ctx, x, weight, eps, dtype):
        size = x.shape[-1]
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        scale = norm.square_().div_(size).add_(eps).rsqrt_().to(x.dtype)
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight.to(x.dtype)).to(dtype)

    @staticmethod
    def backward(ctx, grad):
        x, weight, scale = ctx.saved_tensors
        grad = grad.to(x.dtype)
        grad_x = grad * x
        grad_weight = (grad_x * scale).flatten(0, -2).sum(0, dtype=torch.float32)
        weighted = grad * weight.to(x.dtype)
        dot = torch.mul(weighted, x, out=grad_x).sum(-1, keepdim=True)
        weighted.mul_(scale).addcmul_(x, dot * scale.pow(3) / x.shape[-1], value=-1)
        return weighted, grad_weight, None, None


class RmsNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        return RmsNormFunction.apply(x, self.weight, self.eps, compute_dtype(x))


def compute_dtype(x):
    """What the matrix products will use: bfloat16 inside autocast, else the type of x."""
    enabled = torch.is_autocast_enabled() if x.is_cuda else torch.is_autocast_cpu_enabled()
    return torch.bfloat16 if enabled else x.dtype


def rope_tables(config, length):
    """cos and sin of [length, head_dim / 2], NEOX layout: dimension i is paired with i + head_dim / 2."""
    exponent = torch.arange(0, config.head_dim, 2).float() / config.head_dim
    angles = torch.arange(length).float()[:, None] * (config.rope_base ** -exponent)[None, :]
    return angles.cos(), angles.sin()


def turn(x, cos, sin):
    low, high = x.chunk(2, dim=-1)
    out = torch.empty_like(x)
    out_low, out_high = out.chunk(2, dim=-1)
    torch.mul(low, cos, out=out_low).addcmul_(high, sin, value=-1)
    torch.mul(high, cos, out=out_high).addcmul_(low, sin)
    return out


class Rotate(torch.autograd.Function):
    """Rotary positions for x of [batch, length, heads, head_dim]; the gradient turns the other way."""

    @staticmethod
    def forward(ctx, x, cos, sin):
        ctx.save_for_backward(cos, sin)
        return turn(x, cos, sin)

    @staticmethod
    def backward(ctx, grad):
        cos, sin = ctx.saved_tensors
        return turn(grad, cos, -sin), None, None


def causal_attention(q, k, v, seen):
    """q: [batch, kv_heads, group, length, head_dim], k and v: [batch, kv_heads, length, head_dim].

    The heads of a group share keys, so they are stacked as more rows of one product. At the lengths trained
    here (tens to a few hundreds) this beats the fused kernel of PyTorch on a CPU. `seen`, [batch, length, length],
    keeps apart the conversations of a packed row; without it a row is one conversation.
    """
    batch, kv_heads, group, length, head_dim = q.shape
    if seen is not None:
        keys, values = (part[:, :, None].expand_as(q).flatten(1, 2) for part in (k, v))
        out = F.scaled_dot_product_attention(q.flatten(1, 2), keys, values, attn_mask=seen[:, None])
        return out.view(batch, kv_heads, group, length, head_dim)
    mask = torch.full((length, length), float("-inf"), dtype=q.dtype, device=q.device).triu_(1).repeat(group, 1)
    rows = q.reshape(batch * kv_heads, group * length, head_dim)
    keys = k.reshape(batch * kv_heads, length, head_dim)
    values = v.reshape(batch * kv_heads, length, head_dim)
    scores = torch.baddbmm(mask, rows, keys.transpose(1, 2), alpha=1 / math.sqrt(head_dim))
    return torch.bmm(scores.softmax(-1), values).view(batch, kv_heads, group, length, head_dim)


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.q_size, self.kv_size = config.heads * config.head_dim, config.kv_heads * config.head_dim
        self.qkv_proj = nn.Linear(config.hidden, self.q_size + 2 * self.kv_size, bias=False)
        self.o_proj = nn.Linear(self.q_size, config.hidden, bias=False)
        self.q_norm = RmsNorm(config.head_dim, config.eps)
        self.k_norm = RmsNorm(config.head_dim, config.eps)

    def forward(self, x, cos, sin, seen):
        c, (batch, length, _) = self.config, x.shape
        q, k, v = self.qkv_proj(x).split((self.q_size, self.kv_size, self.kv_size), dim=-1)
        cos, sin = cos[:length, None].to(q.dtype), sin[:length, None].to(q.dtype)
        q = Rotate.apply(self.q_norm(q.reshape(batch, length, c.heads, c.head_dim)), cos, sin)
        k = Rotate.apply(self.k_norm(k.reshape(batch, length, c.kv_heads, c.head_dim)), cos, sin)
        q = q.view(batch, length, c.kv_heads, -1, c.head_dim).permute(0, 2, 3, 1, 4)
        v = v.view(batch, length, c.kv_heads, c.head_dim)
        out = causal_attention(q, k.transpose(1, 2), v.transpose(1, 2), seen)
        return self.o_proj(out.permute(0, 3, 1, 2, 4).reshape(batch, length, -1))


class Experts(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.router = nn.Linear(config.hidden, config.experts, bias=False)
        self.gate_up = nn.Parameter(torch.empty(config.experts, 2 * config.expert_ffn, config.hidden))
        self.down = nn.Parameter(torch.empty(config.experts, config.hidden, config.expert_ffn))

    def route(self, x):
        probs = F.linear(x.float(), self.router.weight.float()).softmax(-1)
        weights, chosen = probs.topk(self.config.experts_used, dim=-1)
        return probs, weights / weights.sum(-1, keepdim=True), chosen

    def balance_loss(self, probs, chosen):
        """1 when all experts are used alike, up to num_experts when one takes everything."""
        num_experts = self.config.experts
        load = torch.bincount(chosen.flatten(), minlength=num_experts).float() / chosen.numel()
        return num_experts * (load * probs.mean(0)).sum()

    def sorted_slots(self, chosen):
        """Which (token, choice) slot stands in which row of the experts' work, and the number of rows of each expert.

        Rows are filled up to a multiple of ROWS with slot -1: oneDNN prepares every matrix shape anew, so there
        should be few of them. On a GPU all experts get the same number, for one batched product.
        """
        device = chosen.device
        order = chosen.flatten().argsort()
        counts = torch.bincount(chosen.flatten(), minlength=self.config.experts)
        room = (counts + ROWS - 1) // ROWS * ROWS
        if chosen.is_cuda:
            room = room.max().expand_as(room)
        shift = (room.cumsum(0) - room) - (counts.cumsum(0) - counts)
        slots = torch.full((int(room.sum()),), -1, device=device)
        slots[torch.arange(len(order), device=device) + shift.repeat_interleave(counts, output_size=len(order))] = order
        return slots, room

    def expert_outputs(self, x, room):
        """x: the experts' rows one after another, room[e] of them for expert e."""
        if x.is_cuda:
            hidden = torch.bmm(x.view(self.config.experts, -1, x.shape[-1]), self.gate_up.transpose(1, 2))
            gate, up = hidden.chunk(2, dim=-1)
            return torch.bmm(F.silu(gate) * up, self.down.transpose(1, 2)).flatten(0, 1)
        parts = []
        for expert, part in enumerate(x.split(room.tolist())):
            gate, up = F.linear(part, self.gate_up[expert]).chunk(2, dim=-1)
            parts.append(F.linear(F.silu(gate) * up, self.down[expert]))
        return torch.cat(parts)

    def forward(self, x):
        shape = x.shape
        x = x.reshape(-1, shape[-1])
        probs, weights, chosen = self.route(x)
        slots, room = self.sorted_slots(chosen)
        real = (slots >= 0).float()
        slots = slots.clamp_min(0)
        rows = slots // self.config.experts_used
        outputs = self.expert_outputs(x.index_select(0, rows), room)
        scale = weights.flatten().index_select(0, slots) * real
        scaled = outputs * scale[:, None].to(x.dtype)
        out = torch.zeros_like(x, dtype=scaled.dtype).index_add(0, rows, scaled)
        return out.view(shape), self.balance_loss(probs, chosen)


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.attn_norm = RmsNorm(config.hidden, config.eps)
        self.attn = Attention(config)
        self.ffn_norm = RmsNorm(config.hidden, config.eps)
        self.ffn = Experts(config)

    def forward(self, x, cos, sin, seen):
        x = x + self.attn(self.attn_norm(x), cos, sin, seen)
        out, balance = self.ffn(self.ffn_norm(x))
        return x + out, balance


class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.hidden)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RmsNorm(config.hidden, config.eps)
        cos, sin = rope_tables(config, config.context)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.reset_parameters()

    def reset_parameters(self):
        """Fan-in initialisation; what writes into the residual stream starts smaller the deeper the model is."""
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2:
                continue
            std = 0.02 if name.startswith("embed") else 0.6 / math.sqrt(parameter.shape[-1])
            if name.endswith(("o_proj.weight", "down")):
                std /= math.sqrt(2 * self.config.layers)
            nn.init.normal_(parameter, std=std)

    def hidden_states(self, ids, packed=None):
        """ids: [batch, length] → states [batch, length, hidden] and the mean balance loss.

        packed: [batch, length], the number of the conversation that each token of a row belongs to, when a row
        holds several. Rotary positions are relative, so they need not start anew.
        """
        x = self.embed(ids)
        seen = None if packed is None else (packed[:, :, None] == packed[:, None, :]).tril()
        balances = []
        for block in self.blocks:
            x, balance = block(x, self.cos, self.sin, seen)
            balances.append(balance)
        return self.norm(x), sum(balances) / len(balances)

    def logits(self, states):
        return F.linear(states, self.embed.weight)

    def forward(self, ids):
        return self.logits(self.hidden_states(ids)[0])
