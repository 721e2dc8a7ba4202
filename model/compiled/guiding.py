"""Guidance extraction modules as graphs, of histories without their padding."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from torch import nn

from model.compiled.graph import Graph, Value
from model.config import ModelConfig
from model.contextual import Contextual
from model.extractor import Extractor
from model.guidance import CausalTransformer, RecencyAttentive, SelfAttentive
from model.transformer import TransformerBlock

Inputs = dict[str, NDArray[np.float32 | np.int64]]


def guiding(extractor: Extractor, config: ModelConfig) -> onnxruntime.InferenceSession | None:
    """A session that takes the inputs of `packed` to unit guidance vectors `(batch, interests, dim)`.

    None for extractors that only stand for comparison, which no graph is written for.
    """
    graph = _Packed(config)
    match extractor:
        case SelfAttentive():
            guidance = _pooled(graph, extractor)
        case Contextual() | CausalTransformer():
            guidance = _encoded(graph, extractor)
        case _:
            return None
    return graph.session(graph.unit(guidance), "batch", config.guidance_count, config.dim)


def packed(vectors: NDArray[np.float32], mask: NDArray[np.bool_]) -> Inputs:
    """The inputs for events `vectors` `(events, dim)` of windows with `mask` `(batch, length)`."""
    length = mask.shape[1]
    counts = mask.sum(1)
    ends = counts.cumsum()
    columns = np.arange(length)
    events = ends[:, None] - length + columns
    gaps = columns[:, None] - columns
    seen = (mask[:, None] & (gaps >= 0)) | (gaps == 0)
    return {
        "vectors": vectors,
        "positions": (columns - (length - counts)[:, None])[mask],
        "cells": np.where(mask, events, len(vectors)),
        "flat": np.flatnonzero(mask),
        "newest": ends - 1,
        "gaps": np.maximum(gaps, 0).astype(np.float32),
        "unseen": np.where(seen, np.float32(0), np.float32(-np.inf))[:, None],
    }


class _Packed(Graph):
    """A graph with the inputs of `packed`; it maps events and knows where they lie in the windows."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.vectors = self.unit(self.input("vectors", np.float32, "events", config.dim))
        self.positions = self.input("positions", np.int64, "events")
        self.cells = self.input("cells", np.int64, "batch", "length")
        self.flat = self.input("flat", np.int64, "events")
        self.newest = self.input("newest", np.int64, "batch")
        self.gaps = self.input("gaps", np.float32, "length", "length")
        self.unseen = self.input("unseen", np.float32, "batch", 1, "length", "length")

    def unpack(self, events: Value, width: int, empty: float = 0.0) -> Value:
        """`(events, width)` → `(batch, length, width)`, `empty` where there is no event."""
        padding = np.full((1, width), empty, dtype=np.float32)
        return self("Gather", self("Concat", events, padding, axis=0), self.cells)

    def pack(self, padded: Value, width: int) -> Value:
        """`(batch, length, width)` → `(events, width)`."""
        return self("Gather", self("Reshape", padded, [-1, width]), self.flat)


def _pooled(graph: _Packed, module: SelfAttentive) -> Value:
    interests, dim = module.interests.out_features, module.hidden.in_features
    positioned = graph("Add", graph.vectors, graph("Gather", module.positions.table.weight, graph.positions))
    hidden = graph("Tanh", graph.linear(positioned, module.hidden.weight))
    logits = graph.unpack(graph.linear(hidden, module.interests.weight), interests, empty=-np.inf)
    if isinstance(module, RecencyAttentive):
        ages = graph("Unsqueeze", graph("Gather", graph.gaps, -1), [1])
        logits = graph("Sub", logits, graph("Mul", ages, module.log_rates.detach().exp()))
    attention = graph("Transpose", graph("Softmax", logits, axis=1), perm=[0, 2, 1])
    return graph("MatMul", attention, graph.unpack(graph.vectors, dim))


def _encoded(graph: _Packed, module: Contextual | CausalTransformer) -> Value:
    positioned = graph("Add", graph.vectors, graph("Gather", module.positions.table.weight, graph.positions))
    states = graph("Mul", positioned, module.scale)
    *before, last = zip(
        cast("Sequence[TransformerBlock]", module.blocks), _attention(graph, module), strict=True
    )
    for block, visible in before:
        states = _fed(graph, block, states, _attended(graph, block, states, visible))
    newest = graph("Gather", states, graph.newest)
    states = _fed(graph, last[0], newest, _attended_by_newest(graph, *last, states))
    states = graph.normed(states, module.norm)
    turns = cast("Sequence[nn.Linear]", module.turns) if isinstance(module, Contextual) else ()
    turned = [graph("Add", states, graph.linear(states, turn.weight, turn.bias)) for turn in turns]
    return graph("Concat", *(graph("Unsqueeze", one, [1]) for one in (*turned, states)), axis=1)


def _attention(graph: _Packed, module: Contextual | CausalTransformer) -> list[Value]:
    """The logits that each block adds, as in `model.contextual`."""
    if isinstance(module, CausalTransformer):
        return [graph.unseen] * len(module.blocks)
    rates = module.log_rates.detach().exp()[:, :, None, None]
    return [graph("Sub", graph.unseen, graph("Mul", graph.gaps, of_block)) for of_block in rates]


def _attended(graph: _Packed, block: TransformerBlock, states: Value, visible: Value) -> Value:
    """`(events, dim)` → the same shape."""
    normed, dim = graph.normed(states, block.attention_norm), block.project.in_features
    mapped = graph.unpack(graph.linear(normed, block.qkv.weight, block.qkv.bias), 3 * dim)
    query, key, value = graph.split(mapped, [dim] * 3)
    return graph.pack(_looked_up(graph, block.heads, dim, query, key, value, visible), dim)


def _attended_by_newest(graph: _Packed, block: TransformerBlock, visible: Value, states: Value) -> Value:
    """`(events, dim)` → `(batch, dim)`."""
    normed, dim = graph.normed(states, block.attention_norm), block.project.in_features
    weight, bias = block.qkv.weight, block.qkv.bias
    query = graph.linear(graph("Gather", normed, graph.newest), weight[:dim], bias[:dim])
    mapped = graph.unpack(graph.linear(normed, weight[dim:], bias[dim:]), 2 * dim)
    key, value = graph.split(mapped, [dim] * 2)
    of_newest = graph("Gather", visible, [-1], axis=2)
    query = graph("Unsqueeze", query, [1])
    return graph("Squeeze", _looked_up(graph, block.heads, dim, query, key, value, of_newest), [1])


def _looked_up(
    graph: Graph, heads: int, dim: int, query: Value, key: Value, value: Value, visible: Value
) -> Value:
    """`(batch, queries, dim)` and twice `(batch, length, dim)` → `(batch, queries, dim)`."""
    parts = [graph("Reshape", part, [0, 0, heads, dim // heads]) for part in (query, key, value)]
    orders = ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
    query, key, value = (
        graph("Transpose", part, perm=order) for part, order in zip(parts, orders, strict=True)
    )
    logits = graph("Mul", graph("MatMul", query, key), (dim // heads) ** -0.5)
    weights = graph("Softmax", graph("Add", logits, visible), axis=-1)
    mixed = graph("Transpose", graph("MatMul", weights, value), perm=[0, 2, 1, 3])
    return graph("Reshape", mixed, [0, 0, dim])


def _fed(graph: Graph, block: TransformerBlock, states: Value, attended: Value) -> Value:
    states = graph("Add", states, graph.linear(attended, block.project.weight, block.project.bias))
    norm, enter, _, _, leave = cast("Sequence[Any]", block.feed_forward)
    raised = graph.linear(graph.normed(states, norm), enter.weight, enter.bias)
    update = graph.linear(graph("Gelu", raised), leave.weight, leave.bias)
    return graph("Add", states, update)
