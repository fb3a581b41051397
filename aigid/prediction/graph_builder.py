"""ONNX graphs, an operator a call; and a backbone's preprocessing as such operators, with Pillow's values.

ONNX Runtime's ``Resize`` with antialiasing differs from Pillow 13's bicubic by 1 in up to 0.1 % of the values of noise,
by up to 14 where Pillow shrinks the rows first, and from its bilinear by up to 19. So the graph computes Pillow's own
coefficients, whose products are exact in float64.
"""

from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from aigid.features.preprocess import Preprocess

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


COEFFICIENT_BITS = 22  # of Pillow's fixed-point coefficients for 8-bit channels (Resample.c, PRECISION_BITS)


class NotInGraphError(Exception):
    """A preprocessing that the graph cannot have."""


def add_preprocessing(g: GraphBuilder, image: str, preprocess: Preprocess) -> str:
    """Add ``resize_and_crop`` with Pillow's values: (1, H, W, 3) uint8 to (3, S, S) float64."""
    size = preprocess.size
    x = g("Cast", g("Transpose", g("Squeeze", image, [0]), perm=[2, 0, 1]), to=DOUBLE)
    sides = [g("Gather", g("Shape", x), np.int64(axis)) for axis in (1, 2)]
    if preprocess.resize == "none":
        return _pad_and_crop(g, x, sides, size)
    if preprocess.interpolation == "nearest":
        raise NotInGraphError("interpolation: nearest: is not in the graph")
    resized = np.int64(size / preprocess.crop_fraction + 1e-6)
    scaled: list[Any] = [resized, resized]
    if preprocess.resize == "shortest":
        scaled = [g("Div", g("Mul", side, resized), g("Min", *sides)) for side in sides]
    rows, columns = (
        _coefficients(g, side, after, size, preprocess.interpolation) for side, after in zip(sides, scaled, strict=True)
    )
    columns = g("Transpose", columns, perm=[1, 0])
    shrinks = [g("Sub", side, after) for side, after in zip(sides, scaled, strict=True)]
    rows_first = g("Greater", shrinks[0], g("Max", np.int64(0), g("Mul", np.int64(2), shrinks[1])))  # Pillow 13
    return g(
        "If",
        rows_first,
        then_branch=g.branch(lambda inner: _to_bytes(inner, _to_bytes(inner, rows, x), columns)),
        else_branch=g.branch(lambda inner: _to_bytes(inner, rows, _to_bytes(inner, x, columns))),
    )


def _coefficients(g: GraphBuilder, before: Any, after: Any, size: int, interpolation: str) -> str:
    """Add the (size, before) matrix of Pillow's coefficients, of the ``size`` middle ones of ``after`` pixels."""
    num_before, num_after = (g("Cast", value, to=DOUBLE) for value in (before, after))
    scale = g("Div", num_before, num_after)
    start = _middle(g, after, size)
    pixels = g("Cast", g("Range", start, g("Add", start, np.int64(size)), np.int64(1)), to=DOUBLE)
    centers = g("Mul", g("Add", g("Unsqueeze", pixels, [1]), np.float64(0.5)), scale)
    sources = g("Cast", g("Range", np.int64(0), before, np.int64(1)), to=DOUBLE)
    offsets = g("Add", g("Sub", sources, centers), np.float64(0.5))
    x = g("Abs", g("Div", offsets, g("Max", scale, np.float64(1))))
    inner = g("Sub", np.float64(1), x)
    weights = g("Where", g("Less", x, np.float64(1)), inner, np.float64(0))
    if interpolation == "bicubic":  # Keys 1981, a = -1/2
        inner = _polynomial(g, x, (1.5, -2.5, 0, 1))
        outer = g("Where", g("Less", x, np.float64(2)), _polynomial(g, x, (-0.5, 2.5, -4, 2)), np.float64(0))
        weights = g("Where", g("Less", x, np.float64(1)), inner, outer)
    weights = g("Div", weights, g("ReduceSum", weights, [1], keepdims=1))
    fixed = g("Floor", g("Add", g("Mul", g("Abs", weights), np.float64(1 << COEFFICIENT_BITS)), np.float64(0.5)))
    return g("Mul", g("Sign", weights), fixed)


def _polynomial(g: GraphBuilder, x: str, coefficients: Iterable[float]) -> str:
    """Add a polynomial by Horner's rule, the highest power first."""
    first, *others = map(np.float64, coefficients)
    value: Any = first
    for other in others:
        value = g("Add", g("Mul", value, x), other)
    return str(value)


def _to_bytes(g: GraphBuilder, a: str, b: str) -> str:
    """Add a product with fixed-point coefficients, exact in float64, rounded to whole numbers in [0, 255]."""
    half = np.float64(1 << COEFFICIENT_BITS - 1)
    rounded = g("Floor", g("Mul", g("Add", g("MatMul", a, b), half), np.float64(2.0**-COEFFICIENT_BITS)))
    return g("Clip", rounded, np.float64(0), np.float64(255))


def _middle(g: GraphBuilder, side: Any, size: int) -> str:
    """Add ``round((side - size) / 2)``, halves to even: where a crop of the center starts."""
    half = g("Mul", g("Cast", g("Sub", side, np.int64(size)), to=DOUBLE), np.float64(0.5))
    return g("Cast", g("Round", half), to=INT64)


def _pad_and_crop(g: GraphBuilder, x: str, sides: list[str], size: int) -> str:
    missing = [g("Max", g("Sub", np.int64(size), side), np.int64(0)) for side in sides]
    before = [g("Div", value, np.int64(2)) for value in missing]
    after = [g("Sub", value, half) for value, half in zip(missing, before, strict=True)]
    vector = [g("Unsqueeze", value, [0]) for value in (*before, *after)]
    pads = g("Concat", [0], *vector[:2], [0], *vector[2:], axis=0)
    starts = [_middle(g, g("Max", side, np.int64(size)), size) for side in sides]
    start = g("Concat", *(g("Unsqueeze", value, [0]) for value in starts), axis=0)
    return g("Slice", g("Pad", x, pads), start, g("Add", start, np.int64(size)), [1, 2])
