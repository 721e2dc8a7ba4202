"""Graphs for ONNX Runtime, written down operator by operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

Value = str
"""The name of a value that is only known when the graph is run."""
Operand = Value | NDArray[Any] | torch.Tensor | float | Sequence[int]
"""A value, or a constant: numbers are float32, sequences of integers int64."""

_OPSET, _IR = 22, 10
"""Of ONNX 1.17: what ONNX Runtime reads since 1.20."""
_TYPES = {np.float32: TensorProto.FLOAT, np.int64: TensorProto.INT64}


class Graph:
    """Operators on values; calling it adds one: `graph("Add", values, bias)`."""

    def __init__(self, names: count[int] | None = None) -> None:
        self._names = count() if names is None else names
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []

    def input(self, name: Value, kind: type[np.float32 | np.int64], *shape: int | str) -> Value:
        """A value that whoever runs the graph gives; sizes that vary have names."""
        self._inputs.append(helper.make_tensor_value_info(name, _TYPES[kind], shape))
        return name

    def __call__(self, operator: str, *operands: Operand, **attributes: Any) -> Value:
        """The result of an ONNX operator."""
        (value,) = self._added(operator, operands, 1, attributes)
        return value

    def split(self, value: Value, sizes: Sequence[int]) -> list[Value]:
        """Parts of the last dimension."""
        return self._added("Split", (value, list(sizes)), len(sizes), {"axis": -1})

    def linear(self, value: Value, weight: torch.Tensor, bias: torch.Tensor | None = None) -> Value:
        """`(…, in)` @ `weight` `(out, in)`ᵀ + `bias`."""
        product = self("MatMul", value, weight.T)
        return product if bias is None else self("Add", product, bias)

    def normed(self, value: Value, norm: nn.LayerNorm) -> Value:
        """As a module of torch."""
        return self("LayerNormalization", value, norm.weight, norm.bias, axis=-1, epsilon=norm.eps)

    def unit(self, value: Value) -> Value:
        """As `model.sphere.unit`; a zero vector stays zero here, too."""
        return self("LpNormalization", value, axis=-1, p=2)

    def repeated(
        self, times: Value, start: Value, body: Callable[[Graph, Value, Value], Value], width: int
    ) -> Value:
        """`body` of the graph that is repeated, the number of the round and the state `(rows, width)`."""
        inner = Graph(self._names)
        number, going, state = (f"v{next(self._names)}" for _ in range(3))
        after, still = body(inner, number, state), inner("Identity", going)
        rows: list[int | str] = [f"v{next(self._names)}", width]
        graph = helper.make_graph(
            inner._nodes,
            "body",
            [
                helper.make_tensor_value_info(number, TensorProto.INT64, []),
                helper.make_tensor_value_info(going, TensorProto.BOOL, []),
                helper.make_tensor_value_info(state, TensorProto.FLOAT, rows),
            ],
            [
                helper.make_tensor_value_info(still, TensorProto.BOOL, []),
                helper.make_tensor_value_info(after, TensorProto.FLOAT, rows),
            ],
            inner._constants,
        )
        return self("Loop", times, "", start, body=graph)

    def session(self, result: Value, *shape: int | str) -> onnxruntime.InferenceSession:
        """The graph ready to be run, with as many threads as torch has."""
        output = helper.make_tensor_value_info(result, TensorProto.FLOAT, shape)
        graph = helper.make_graph(self._nodes, "graph", self._inputs, [output], self._constants)
        opsets = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def _added(
        self, operator: str, operands: Sequence[Operand], outputs: int, attributes: dict[str, Any]
    ) -> list[Value]:
        names = [f"v{next(self._names)}" for _ in range(outputs)]
        inputs = [one if isinstance(one, str) else self._constant(one) for one in operands]
        self._nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names

    def _constant(self, value: NDArray[Any] | torch.Tensor | float | Sequence[int]) -> Value:
        name = f"v{next(self._names)}"
        if isinstance(value, torch.Tensor):
            value = value.detach().numpy()
        kind = (
            np.float32
            if isinstance(value, float) or getattr(value, "dtype", None) == np.float32
            else np.int64
        )
        array = np.ascontiguousarray(value, dtype=kind).reshape(np.shape(value))
        self._constants.append(numpy_helper.from_array(array, name))
        return name
