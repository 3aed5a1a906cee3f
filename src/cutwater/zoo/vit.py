"""Vision transformers with seeded weights: ViT-B/16 (86 million parameters), ViT-Ti/16 (6 million) and a tiny one.

Architecture: Dosovitskiy et al., "An Image is Worth 16x16 Words" (ICLR 2021), table 1; ViT-Ti/16 is the smallest of
Touvron et al., "Training data-efficient image transformers" (ICML 2021), table 1.
"""

import math
from dataclasses import dataclass

import numpy as np
import onnx

from cutwater.zoo.builder import BATCH, GraphBuilder
from cutwater.zoo.seeded import LINEAR_GAIN, SILU_GAIN, Seeded


@dataclass(frozen=True)
class VitSize:
    """The dimensions of one vision transformer."""

    picture: int
    patch: int
    width: int
    depth: int
    heads: int
    hidden: int
    classes: int

    @property
    def tokens(self) -> int:
        """Patches, and the class token."""
        return (self.picture // self.patch) ** 2 + 1


BASE = VitSize(picture=224, patch=16, width=768, depth=12, heads=12, hidden=3072, classes=1000)
TI16 = VitSize(picture=224, patch=16, width=192, depth=12, heads=3, hidden=768, classes=1000)
TINY = VitSize(picture=64, patch=16, width=64, depth=3, heads=4, hidden=128, classes=10)


def build_vit(size: VitSize = BASE, seed: int = 16) -> onnx.ModelProto:
    """Float32 ``pictures`` [batch, 3, picture, picture] -> ``logits`` [batch, classes]."""
    graph, weights = GraphBuilder("vit"), Seeded(seed)
    x = graph.input("pictures", [BATCH, 3, size.picture, size.picture])
    x = _embed(graph, weights, x, size)
    for block in range(size.depth):
        with graph.scope(f"blocks.{block}"):
            x = graph.op("Add", x, _attention(graph, weights, x, size))
            x = graph.op("Add", x, _perceptron(graph, weights, x, size))
    x = _norm(graph, x, "norm", size.width)
    with graph.scope("head"):
        token = graph.op("Gather", x, graph.constant(0, np.int64), axis=1)
        x = graph.classify(token, *weights.linear(size.classes, size.width))
    return graph.finish(logits=x)


def _embed(graph: GraphBuilder, weights: Seeded, x: str, size: VitSize) -> str:
    """Patches as tokens [batch, tokens, width], the class token first, positions added."""
    with graph.scope("patch_embed"):
        kernel = weights.conv(size.width, 3, size.patch, LINEAR_GAIN)
        x = graph.conv(x, *kernel, stride=size.patch, pads=(0, 0, 0, 0))
        x = graph.op("Transpose", graph.reshape(x, 0, size.width, -1), perm=[0, 2, 1])
    with graph.scope("class_token"):
        # One token per picture: its shape follows the batch at run time, as exporters write it.
        batch = graph.op("Gather", graph.op("Shape", x), graph.constant([0], np.int64), axis=0)
        shape = graph.op("Concat", batch, graph.constant([1, size.width], np.int64), axis=0)
        token = graph.op("Expand", graph.weight(weights.normal(1, 1, size.width)), shape)
        x = graph.op("Concat", token, x, axis=1)
    with graph.scope("pos_embed"):
        return graph.op("Add", x, graph.weight(weights.normal(1, size.tokens, size.width, scale=0.5)))


def _attention(graph: GraphBuilder, weights: Seeded, x: str, size: VitSize) -> str:
    per_head = size.width // size.heads
    x = _norm(graph, x, "norm1", size.width)
    with graph.scope("attn"):
        with graph.scope("qkv"):
            joined = graph.linear(x, *weights.linear(3 * size.width, size.width))
            parts = graph.ops("Split", joined, graph.constant([size.width] * 3, np.int64), outputs=3, axis=-1)
        query, key, value = (graph.reshape(part, 0, 0, size.heads, per_head) for part in parts)
        query = graph.op("Transpose", query, perm=[0, 2, 1, 3])
        key = graph.op("Transpose", key, perm=[0, 2, 3, 1])
        value = graph.op("Transpose", value, perm=[0, 2, 1, 3])
        scores = graph.op("Mul", graph.op("MatMul", query, key), graph.constant(1 / math.sqrt(per_head)))
        mixed = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), value)
        merged = graph.reshape(graph.op("Transpose", mixed, perm=[0, 2, 1, 3]), 0, 0, size.width)
        with graph.scope("proj"):
            return graph.linear(merged, *weights.linear(size.width, size.width))


def _perceptron(graph: GraphBuilder, weights: Seeded, x: str, size: VitSize) -> str:
    x = _norm(graph, x, "norm2", size.width)
    with graph.scope("mlp"):
        with graph.scope("fc1"):
            x = graph.gelu(graph.linear(x, *weights.linear(size.hidden, size.width)))
        with graph.scope("fc2"):
            return graph.linear(x, *weights.linear(size.width, size.hidden, SILU_GAIN * 0.3))


def _norm(graph: GraphBuilder, x: str, name: str, width: int) -> str:
    with graph.scope(name):
        return graph.layer_norm(x, np.ones(width, np.float32), np.zeros(width, np.float32))
