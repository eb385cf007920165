"""A compact Llama for the anchor: static KV cache, grouped queries without copies of K and V, layers as one function.

Every layer runs the same function on other tensors, so that torch.compile compiles one layer, not thirty-two. The
residual sum of a layer's MLP is left to the next layer (or the head), where it fuses with the norm that follows.
"""
import json
import pathlib
from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass
class Config:
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    eps: float
    rope_theta: float

    @classmethod
    def of(cls, path):
        c = json.loads(pathlib.Path(path).read_text())
        heads = c["num_attention_heads"]
        theta = c.get("rope_theta") or (c.get("rope_parameters") or {}).get("rope_theta") or 10000.0
        return cls(c["hidden_size"], c["intermediate_size"], c["num_hidden_layers"], heads,
                   c.get("num_key_value_heads", heads), c.get("head_dim") or c["hidden_size"] // heads, c["vocab_size"],
                   c.get("rms_norm_eps", 1e-5), theta)


def rms_norm(x, weight, eps):
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(x.dtype) * weight


def rotate(x, cos, sin):  # x [batch, heads, tokens, head_dim], cos and sin [tokens, head_dim]
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return (x.float() * cos + turned.float() * sin).to(x.dtype)


def decode_attention(q, k, v, bias):  # q [batch, heads, 1, dim], k and v [batch, kv_heads, cache, dim], bias [cache]
    batch, heads, _, dim = q.shape
    q = q.view(batch, k.shape[1], heads // k.shape[1], dim)
    scores = torch.matmul(q, k.transpose(-1, -2)).float() * dim**-0.5 + bias
    return torch.matmul(F.softmax(scores, dim=-1).to(v.dtype), v).reshape(batch, 1, heads * dim)


def prefill_attention(q, k, v):
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=q.shape[1] != k.shape[1])
    return out.transpose(1, 2).flatten(2)


def layer(x, delta, weights, cache, place, config):
    """x, delta [batch, tokens, hidden] -> the same; `place` is (positions, cos, sin, bias), bias None for a prompt."""
    input_norm, qkv, o, post_norm, gate_up, down = weights
    k_cache, v_cache = cache
    positions, cos, sin, bias = place
    batch, tokens, _ = x.shape
    x = x + delta
    fused = F.linear(rms_norm(x, input_norm, config.eps), qkv).view(batch, tokens, -1, config.head_dim).transpose(1, 2)
    q, k, v = fused.split([config.heads, config.kv_heads, config.kv_heads], dim=1)
    q, k = rotate(q, cos, sin), rotate(k, cos, sin)
    k_cache.index_copy_(2, positions, k)
    v_cache.index_copy_(2, positions, v)
    y = prefill_attention(q, k, v) if bias is None else decode_attention(q, k_cache, v_cache, bias)
    x = x + F.linear(y, o)
    gate, up = F.linear(rms_norm(x, post_norm, config.eps), gate_up).chunk(2, dim=-1)
    return x, F.linear(F.silu(gate) * up, down)


def head(x, delta, norm, weight, eps):
    """Logits of the last token of each sequence, and the likeliest ids [batch, 1]."""
    logits = F.linear(rms_norm((x + delta)[:, -1:], norm, eps), weight)
    return logits, logits.argmax(-1)


class Llama:
    def __init__(self, config, device, dtype, seed=0):
        self.config, self.device, self.dtype = config, device, dtype
        generator = torch.Generator(device).manual_seed(seed)

        def random(*shape):
            return torch.empty(shape, device=device, dtype=dtype).normal_(0, 0.02, generator=generator)

        def ones():
            return torch.ones(config.hidden, device=device, dtype=dtype)

        width = (config.heads + 2 * config.kv_heads) * config.head_dim
        self.embedding, self.final_norm = random(config.vocab, config.hidden), ones()
        self.head_weight = random(config.vocab, config.hidden)
        self.layers = [(ones(), random(width, config.hidden), random(config.hidden, config.heads * config.head_dim),
                        ones(), random(2 * config.intermediate, config.hidden),
                        random(config.hidden, config.intermediate)) for _ in range(config.layers)]
        steps = torch.arange(0, config.head_dim, 2, device=device, dtype=torch.float32) / config.head_dim
        self.frequencies = config.rope_theta**-steps

    def new_cache(self, batch, length):
        shape = (batch, self.config.kv_heads, length, self.config.head_dim)
        return [tuple(torch.zeros(shape, device=self.device, dtype=self.dtype) for _ in "kv")
                for _ in range(self.config.layers)]

    def step(self, ids, positions, cache, run_layer=layer, run_head=head):
        """ids [batch, tokens] at positions [tokens]; one token: behind the cache, several: a prompt from position 0."""
        angles = positions[:, None].float() * self.frequencies
        cos, sin = torch.cat((angles, angles), -1).cos(), torch.cat((angles, angles), -1).sin()
        bias = None
        if ids.shape[1] == 1:
            entries = torch.arange(cache[0][0].shape[2], device=self.device)
            bias = torch.where(entries <= positions, 0.0, float("-inf"))
        x = F.embedding(ids, self.embedding)
        delta = torch.zeros_like(x)
        for weights, entry in zip(self.layers, cache):
            x, delta = run_layer(x, delta, weights, entry, (positions, cos, sin, bias), self.config)
        return run_head(x, delta, self.final_norm, self.head_weight, self.config.eps)
