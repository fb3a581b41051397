"""ONNX graphs, an operator a call."""

from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

DOUBLE, FLOAT, INT64 = TensorProto.DOUBLE, TensorProto.FLOAT, TensorProto.INT64


class GraphBuilder:
    """Collects nodes and constants; a call adds an operator and returns the name of its output."""

    def __init__(self, numbers: "count[int] | None" = None) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._numbers = numbers or count()

    def __call__(self, operator: str, *inputs: Any, output: str = "", num_outputs: int = 1, **attributes: Any) -> str:
        """Add an operator of named tensors and constants (arrays or numpy's scalars); return the first output."""
        names = [value if isinstance(value, str) else self._constant(np.asarray(value)) for value in inputs]
        output = output or f"aigid/{operator}_{next(self._numbers)}"
        outputs = [output, *(f"{output}/{number}" for number in range(1, num_outputs))]
        self.nodes.append(helper.make_node(operator, names, outputs, output, **attributes))
        return output

    def _constant(self, value: NDArray[Any]) -> str:
        name = f"aigid/constant_{next(self._numbers)}"
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name))
        return name

    def branch(self, add: Callable[["GraphBuilder"], str]) -> onnx.GraphProto:
        """Return a branch of ``If``: what ``add`` adds to a graph that sees this one's tensors."""
        inner = GraphBuilder(self._numbers)
        output = helper.make_tensor_value_info(add(inner), DOUBLE, None)
        return helper.make_graph(inner.nodes, "branch", [], [output], inner.initializers)


def make_model(g: GraphBuilder, encoder: onnx.ModelProto, shape: list[Any], outputs: list[str]) -> onnx.ModelProto:
    """Return the graph as a model of the encoder's opsets: ``image`` uint8 in, ``outputs`` (1,) float64 out."""
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, shape)
    values = [helper.make_tensor_value_info(name, DOUBLE, [1]) for name in outputs]
    graph = helper.make_graph(g.nodes, "aigid", [image], values, g.initializers)
    model = helper.make_model(graph, opset_imports=encoder.opset_import, producer_name="aigid")
    model.ir_version = max(encoder.ir_version, 7)
    model.functions.extend(encoder.functions)
    return model


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operators."""
    return int(next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")))
