"""Causal attention of PyTorch with each of the models' positions: what recite's attention is compared with.

q, k, v: (B, H, T, d). `position` is none, RoPE (which these do not turn: they are none, too), ALiBi with slopes
2^(-8 (h + 1) / H), or Hard-ALiBi, where head h of the first half sees the last h + 1 tokens.
"""

from functools import cache

import torch
from goals import CUDNN, FLEX
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

FLASH, BIAS = "flash SDPA", "SDPA with bias"


def slopes(heads: int, device: str) -> torch.Tensor:
    return 2.0 ** (-8.0 * torch.arange(1, heads + 1, device=device) / heads)


def windows(heads: int, time: int, device: str) -> torch.Tensor:
    """How many keys before its own a query sees."""
    head = torch.arange(heads, device=device)
    return torch.where(head < heads // 2, head, time)


def bias_of(position: str, heads: int, time: int, device: str, dtype: torch.dtype) -> torch.Tensor:
    """(1, H, T, T), rows lying apart by a multiple of 8 numbers, which the kernels need (or they make a copy)."""
    place = torch.arange(time, device=device)
    back = (place[:, None] - place[None, :]).float()
    bias = torch.zeros(heads, time, (time + 7) // 8 * 8, device=device)[..., :time]
    if position == "ALiBi":
        bias -= slopes(heads, device)[:, None, None] * back
    bias.masked_fill_(back < 0, -torch.inf)
    if position == "Hard-ALiBi":
        bias.masked_fill_(back > windows(heads, time, device)[:, None, None], -torch.inf)
    padded = torch.empty(heads, time, (time + 7) // 8 * 8, device=device, dtype=dtype)[..., :time]
    return padded.copy_(bias)[None]


@cache
def compiled_flex():
    return torch.compile(flex_attention, dynamic=False)


def flex(position: str, heads: int, time: int, device: str, attention=None):
    """A function of q, k, v that leaves out blocks that are masked whole; `attention`: in place of the compiled one."""
    slope, window = slopes(heads, device), windows(heads, time, device)

    def score(score, batch, head, query, key):
        return score - slope[head] * (query - key) if position == "ALiBi" else score

    def seen(batch, head, query, key):
        return (query >= key) & (query - key <= window[head]) if position == "Hard-ALiBi" else query >= key

    attention = attention or compiled_flex()
    by_head = heads if position == "Hard-ALiBi" else None
    mask = create_block_mask(seen, None, by_head, time, time, device=device)
    return lambda q, k, v: attention(q, k, v, score_mod=score, block_mask=mask)


def with_backend(backend: SDPBackend, **more):
    def attend(q, k, v):
        with sdpa_kernel(backend):
            return scaled_dot_product_attention(q, k, v, **more)
    return attend


def peers(position: str, heads: int, time: int, dtype: torch.dtype, device: str = "cuda") -> dict:
    """Each peer's way to make its function of q, k, v."""
    if dtype == torch.float32:
        return {"efficient SDPA": lambda: with_backend(SDPBackend.EFFICIENT_ATTENTION, is_causal=True)}
    if position in ("none", "RoPE"):
        return {CUDNN: lambda: with_backend(SDPBackend.CUDNN_ATTENTION, is_causal=True),
                FLASH: lambda: with_backend(SDPBackend.FLASH_ATTENTION, is_causal=True)}

    def biased(backend: SDPBackend):
        return with_backend(backend, attn_mask=bias_of(position, heads, time, device, dtype))
    return {BIAS: lambda: biased(SDPBackend.EFFICIENT_ATTENTION),
            f"{CUDNN} with bias": lambda: biased(SDPBackend.CUDNN_ATTENTION),
            FLEX: lambda: flex(position, heads, time, device)}
