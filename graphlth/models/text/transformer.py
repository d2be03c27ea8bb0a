"""A decoder-only transformer (Vaswani et al., NeurIPS 2017, arXiv:1706.03762), in small."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphlth.settings.types import Depth, Heads, Width
from graphlth.task import Task

STD = 0.02  # of new weights


class Block(nn.Module):
    """Causal self-attention, then two linear maps with GELU; each reads norms and adds to `x`."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, d] of `x` [B, T, d]; a position sees itself and those before it."""
        b, t, d = x.shape
        qkv = self.attention(self.norm_1(x)).view(b, t, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # [B, H, T, d / H] each
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.project(seen.transpose(1, 2).reshape(b, t, d))
        whole: Tensor = x + self.narrow(F.gelu(self.widen(self.norm_2(x))))
        return whole


class Transformer(nn.Module):
    """Blocks on the sum of an embedding and a learned position; no dropout.

    Weights are drawn as in GPT-2 (Radford et al., 2019): of standard deviation 0.02, those that
    write into the residual stream 0.02 / √(2 `layers`).

    Args:
        tokens: how many there are.
        context: how many positions.
        width: channels of the residual stream; a block has four times as many inside.
        layers: blocks.
        heads: attention heads.
    """

    def __init__(self, tokens: int, context: int, width: int, layers: int, heads: int):
        super().__init__()
        self.embedding, self.position = nn.Embedding(tokens, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, tokens)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every weight anew."""
        for name, m in self.named_modules():
            if isinstance(m, nn.Linear | nn.Embedding):
                writes = name.endswith((".project", ".narrow"))
                shared = math.sqrt(2 * len(self.blocks)) if writes else 1
                nn.init.normal_(m.weight, std=STD / shared)
            if isinstance(m, nn.Linear):
                nn.init.zeros_(m.bias)
            elif isinstance(m, nn.LayerNorm):
                m.reset_parameters()

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [B · T, C] of what follows each of `tokens` [B, T]."""
        x = self.embedding(tokens) + self.position.weight[: tokens.size(1)]  # [B, T, d]
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x))
        return logits.flatten(0, 1)


def transformer(
    task: Task, *, hidden: Width = 64, layers: Depth = 2, heads: Heads = 4
) -> Transformer:
    """A causal transformer of text; embedding, positions and every linear map are prunable.

    Args:
        task: gives the context and the number of characters.
        hidden: channels of the residual stream, a multiple of `heads`.
        layers: blocks.
        heads: attention heads of a block.

    Raises:
        ValueError: `task` is not one of text, or `heads` do not divide `hidden`.
    """
    if getattr(task, "dtype", None) != torch.int64:
        raise ValueError(f"`task` must have text: tokens of int64, got {task.name!r}")
    if hidden % heads:
        raise ValueError(f"`hidden` must be a multiple of `heads` = {heads}, got {hidden}")
    (context,) = task.shape  # type: ignore[attr-defined]
    return Transformer(task.num_features, context, hidden, layers, heads)
