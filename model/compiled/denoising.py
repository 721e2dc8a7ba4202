"""The reverse process as a graph: one step, repeated, on what `model.frozen` has computed beforehand."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from model.compiled.graph import Graph, Value
from model.config import ModelConfig
from model.frozen import FrozenPerceptron, FrozenPosterior
from model.gate import Gate
from model.sampler import step_factors
from model.schedule import sampling_timesteps

Inputs = dict[str, NDArray[np.float32 | np.int64]]
_Denoise = Callable[[Graph, Value, Value], Value]
"""Adds f_θ to a graph: of the state `(rows, dim)` and the number of its noise level."""


def denoising(
    frozen: FrozenPosterior | FrozenPerceptron, config: ModelConfig
) -> onnxruntime.InferenceSession:
    """A session that takes `guidance` `(batch, interests, dim)`, the `owners` `(rows,)` of it, `start`
    `(rows, dim)` and a `Schedule` to draws `(rows, dim)`.
    """
    graph = Graph()
    guidance = graph.input("guidance", np.float32, "batch", config.guidance_count, config.dim)
    owners = graph.input("owners", np.int64, "rows")
    start = graph.input("start", np.float32, "rows", config.dim)
    levels = graph.input("levels", np.int64, "steps")
    added, kept = (graph.input(name, np.float32, "steps") for name in ("added", "kept"))
    own = graph("Gather", guidance, owners)
    if isinstance(frozen, FrozenPosterior):
        denoise = _posterior(frozen, graph, guidance, owners, own)
    else:
        denoise = _perceptron(frozen, graph, guidance, owners, own)

    def step(inner: Graph, number: Value, state: Value) -> Value:
        mean = denoise(inner, state, inner("Gather", levels, number))
        if config.project_reconstruction:
            mean = inner.unit(mean)
        part = inner("Mul", mean, inner("Gather", added, number))
        after = inner("Add", part, inner("Mul", state, inner("Gather", kept, number)))
        return after if config.process == "euclidean" else inner.unit(after)

    steps = graph("Squeeze", graph("Shape", levels))
    if config.process == "none":
        start = graph("Mul", start, 0.0)
    end = graph.unit(graph.repeated(steps, start, step, config.dim))
    return graph.session(end, "rows", config.dim)


class Schedule:
    """The inputs of a session of `denoising` that follow from the number of steps."""

    def __init__(self, config: ModelConfig, cosines: list[float]) -> None:
        self._config = config
        self._cosines = cosines
        self.of = lru_cache(config.timesteps)(self._of)
        """Those for a number of steps."""

    def _of(self, steps: int) -> Inputs:
        last = self._config.timesteps
        if self._config.process == "none":  # the first estimate is the answer
            levels, factors = [last], [(1.0, 0.0)]
        else:
            levels = sampling_timesteps(last, steps)
            cosines = [self._cosines[level] for level in (*levels, 0)]
            factors = [step_factors(*pair) for pair in pairwise(cosines)]
        added, kept = np.array(factors, dtype=np.float32).T
        return {"levels": np.array(levels), "added": added.copy(), "kept": kept.copy()}


def _posterior(frozen: FrozenPosterior, outer: Graph, guidance: Value, owners: Value, own: Value) -> _Denoise:
    shares = None if frozen.gate is None else _log_shares(frozen.gate, outer, guidance, owners)

    def denoise(graph: Graph, state: Value, level: Value) -> Value:
        at_level = {
            name: graph("Gather", np.array(values, dtype=np.float32), level)
            for name, values in (
                ("affinity", frozen.affinity),
                ("scale", frozen.scale),
                ("trust", frozen.trust),
            )
        }
        nearness = graph("Squeeze", graph("MatMul", own, graph("Unsqueeze", state, [2])), [2])
        logits = graph("Mul", nearness, at_level["affinity"])
        logits = graph("Add", logits, graph("Gather", frozen.weights, level))
        if shares is not None:
            logits = graph("Add", logits, shares)
        mean = graph("Add", _mixed(graph, logits, own), graph("Mul", state, at_level["trust"]))
        return graph("Mul", mean, at_level["scale"])

    return denoise


def _log_shares(gate: Gate, graph: Graph, guidance: Value, owners: Value) -> Value:
    """Log π of each row, 0 for the guidance vectors that are not mixed, `(rows, interests)`."""
    flat = graph("Mul", graph("Reshape", guidance, [0, -1]), gate.scale)
    shares = graph("LogSoftmax", graph.linear(flat, gate.logits.weight, gate.logits.bias), axis=-1)
    return graph("Gather", graph("Pad", shares, [0, gate.others, 0, 0]), owners)


def _perceptron(
    frozen: FrozenPerceptron, outer: Graph, guidance: Value, owners: Value, own: Value
) -> _Denoise:
    flat = outer("Reshape", guidance, [0, -1])
    context = outer("Gather", outer.linear(flat, frozen.of_guidance), owners)

    def denoise(graph: Graph, state: Value, level: Value) -> Value:
        known = graph("Add", context, graph("Gather", frozen.level, level))
        hidden = graph("Add", graph.linear(state, frozen.of_state), known)
        for layer in frozen.layers:
            norm, enter, _, _, leave = cast("Sequence[Any]", layer.body)
            normed = graph.normed(hidden, norm)
            raised = graph.linear(normed, enter.weight, enter.bias)
            bent = graph("Mul", raised, graph("Sigmoid", raised))
            hidden = graph("Add", hidden, graph.linear(bent, leave.weight, leave.bias))
        end = graph.linear(hidden, frozen.end, frozen.end_bias)
        correction, logits = graph.split(end, [frozen.dim, len(frozen.end) - frozen.dim])
        return graph("Add", _mixed(graph, logits, own), correction)

    return denoise


def _mixed(graph: Graph, logits: Value, vectors: Value) -> Value:
    """The mean of `vectors` `(rows, interests, dim)` with softmax weights, `(rows, dim)`."""
    weights = graph("Unsqueeze", graph("Softmax", logits, axis=-1), [2])
    return graph("ReduceSum", graph("Mul", weights, vectors), [1], keepdims=0)
