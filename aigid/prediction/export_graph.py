"""A bundle's encoder, head and calibration as operators of an ONNX graph."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from aigid.core.errors import InputError
from aigid.detectors import stacking
from aigid.detectors.knn import KNearestNeighbors
from aigid.detectors.probe import LinearProbe
from aigid.detectors.protocol import EmbeddingDetector
from aigid.detectors.stacking import Stacking
from aigid.detectors.svm.detector import KernelSvm
from aigid.features import onnx_graph
from aigid.features.backbones import BackboneSettings
from aigid.features.loaders.onnx import open_session, weights_path
from aigid.metrics.calibration import EPS, Calibrator
from aigid.prediction.exported import Precision
from aigid.prediction.graph_builder import DOUBLE, FLOAT, GraphBuilder, opset_of

MIN_OPSET = 13  # since which axes of sums are an input
MIN_SIZE = 256  # numbers of a weight that is stored in a lower precision
FLOAT16_RANGE = (-65504.0, 65504.0)
Array = NDArray[Any]


class Encoder(NamedTuple):
    """An ONNX encoder, its input, the tensors that are pooled, and these of a black image, for their shapes."""

    model: onnx.ModelProto
    image: str
    names: list[str]
    outputs: list[Array]


def read_encoder(settings: BackboneSettings) -> Encoder:
    """Return the graph of a backbone; InputError where its operators are too old."""
    path = weights_path(settings)
    layers = settings.layers or ([settings.output] if settings.output and settings.pool != "own" else [])
    names, content = onnx_graph.select_outputs(path, layers) if layers else ([], None)
    session = open_session(path, content, "cpu")
    flat = [output.name for output in session.get_outputs() if len(output.shape) == 2]
    names = names or [settings.output or flat[0]]
    size = settings.preprocess.size
    (image,) = session.get_inputs()
    outputs = session.run(names, {image.name: np.zeros((1, 3, size, size), np.float32)})
    model = onnx.load(str(path))
    if (opset := opset_of(model)) < MIN_OPSET:
        raise InputError(f"weights {path}: opset {opset} is not exported, {MIN_OPSET} and later are")
    return Encoder(model, image.name, names, outputs)


def add_encoder(
    g: GraphBuilder, pixels: str, settings: BackboneSettings, encoder: Encoder, precision: Precision = "float32"
) -> str:
    """Add (3, S, S) of values in [0, 255] to stored embeddings (1, D) float32: normalize, encode, pool, round.

    Of a lower ``precision`` are the stored weights; what is computed with them stays float32.
    """
    model, image, names, outputs = encoder
    scales = settings.preprocess.mean, settings.preprocess.std
    mean, std = ((np.array(values, np.float32) * 255)[:, None, None] for values in scales)
    normalized = g("Div", g("Sub", g("Cast", pixels, to=FLOAT), mean), std)
    g("Unsqueeze", normalized, [0], output=image)
    nodes, needed = [], set(names)
    for node in reversed(model.graph.node):  # sorted, so that what a node needs stands before it
        if needed & set(node.output):
            nodes.append(node)
            needed |= set(_inputs(node))
    for tensor in model.graph.initializer:
        if tensor.name in needed:
            _add_weight(g, tensor, precision)
    g.nodes += reversed(nodes)
    pairs = zip(names, outputs, strict=True)
    parts = [part for name, output in pairs for part in _pool(g, name, output, settings.pool)]
    embedding = g("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(settings.dtype))
    return g("Cast", g("Cast", embedding, to=kind), to=FLOAT)


def _add_weight(g: GraphBuilder, tensor: onnx.TensorProto, precision: Precision) -> None:
    """Add a tensor of the encoder; large matrices and kernels of float32 are stored in the precision and cast back.

    int8 is symmetric, a scale for each output: the first axis of kernels, the last of matrices (ONNX's MatMul).
    """
    if precision == "float32" or tensor.data_type != FLOAT or len(tensor.dims) < 2 or math.prod(tensor.dims) < MIN_SIZE:
        g.initializers.append(tensor)
        return
    weight = numpy_helper.to_array(tensor)
    if precision == "float16":
        g("Cast", np.clip(weight, *FLOAT16_RANGE).astype(np.float16), to=FLOAT, output=tensor.name)
        return
    axis = 0 if weight.ndim > 2 else weight.ndim - 1
    others = tuple(other for other in range(weight.ndim) if other != axis)
    scale = np.maximum(np.abs(weight).max(axis=others, keepdims=True) / 127, np.finfo(np.float32).tiny)
    levels = np.rint(weight / scale).astype(np.int8)
    g("DequantizeLinear", levels, scale.reshape(-1), np.zeros(scale.size, np.int8), output=tensor.name, axis=axis)


def _inputs(node: onnx.NodeProto) -> list[str]:
    """Return what a node reads, in its branches, too."""
    inner = [inside for attribute in node.attribute for inside in attribute.g.node]
    return [*node.input, *(name for inside in inner for name in _inputs(inside))]


def _pool(g: GraphBuilder, name: str, output: Array, pool: str) -> list[str]:
    """Add ``pool_output``; ``output`` has the tensor's shape."""
    if output.ndim == 2:
        return [name]
    if output.ndim == 4:
        return [_mean(g, name, [2, 3], math.prod(output.shape[2:]))]
    num = output.shape[1]
    num_prefix = num - math.isqrt(num) ** 2
    patches = g("Slice", name, [num_prefix], [num], [1])
    parts = {"cls": g("Gather", name, np.int64(0), axis=1), "mean": _mean(g, patches, [1], num - num_prefix)}
    return [parts[part] for part in pool.split("_")]


def _mean(g: GraphBuilder, x: str, axes: list[int], num: int) -> str:
    return g("Div", g("ReduceSum", x, axes, keepdims=0), np.float32(num))


def add_head(g: GraphBuilder, detector: Any, x: str) -> str:
    """Add P(generated) (1, 1) float64 of embeddings (1, D) float32; InputError names a detector that has no graph."""
    for kind, add in HEADS.items():
        if isinstance(detector, kind):
            return add(g, detector, x)
    raise InputError(f"detector {type(detector).__name__}: is not exported; of heads a probe, knn, svm or stacking is")


def _probe(g: GraphBuilder, probe: LinearProbe, x: str) -> str:
    x = g("Cast", x, to=DOUBLE)
    x = _unit_rows(g, x, np.float64) if probe.state.get("normalize") else x
    return _sigmoid(g, g("Add", g("MatMul", x, probe.weight.astype(np.float64)[:, None]), np.float64(probe.bias)))


def _knn(g: GraphBuilder, knn: KNearestNeighbors, x: str) -> str:
    x, means = _unit_rows(g, x, np.float32), []
    for bank in (knn.fake, knn.real):
        rows = bank.astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        similarities = g("MatMul", x, np.ascontiguousarray(rows.T))
        nearest = g("TopK", similarities, np.array([knn.k]), output=f"{similarities}/nearest", num_outputs=2)
        means.append(g("Cast", g("Div", g("ReduceSum", nearest, [1], keepdims=1), np.float32(knn.k)), to=DOUBLE))
    half = g("Mul", g("Sub", *means), np.float64(0.25))
    return g("Clip", g("Add", half, np.float64(0.5)), np.float64(0), np.float64(1))


def _svm(g: GraphBuilder, svm: KernelSvm, x: str) -> str:
    if svm.classes:
        raise InputError("svm of target generator: is not exported, of target label it is")
    arrays, machine = svm.arrays, svm.machine
    if "mean" in arrays:
        x = g("Div", g("Sub", x, arrays["mean"]), arrays["std"])
        x = g("MatMul", x, g("Cast", arrays["axes"], to=FLOAT)) if "axes" in arrays else x
    else:
        x = _unit_rows(g, x, np.float32)
    x = g("Cast", g("Gather", x, arrays["columns"].astype(np.int64), axis=1), to=DOUBLE)
    centers = g("Cast", np.ascontiguousarray(machine.centers.T), to=DOUBLE)
    pairs = (x, 1), (centers, 0)
    squares = [g("ReduceSum", g("Mul", rows, rows), [axis], keepdims=1) for rows, axis in pairs]
    distances = g("Sub", g("Add", *squares), g("Mul", g("MatMul", x, centers), np.float64(2)))
    kernel = g("Exp", g("Mul", g("Max", distances, np.float64(0)), np.float64(-machine.gamma)))
    decisions = g("Add", g("MatMul", kernel, machine.coefficients), machine.intercepts)
    real = _sigmoid(g, g("Add", g("Mul", decisions, arrays["slopes"]), arrays["offsets"]))
    return g("Sub", np.float64(1), g("Clip", real, np.float64(1e-7), np.float64(1 - 1e-7)))


def _stacking(g: GraphBuilder, stack: Stacking, x: str) -> str:
    *weights, offset = stack.state["weights"]
    terms = []
    for weight, (name, member) in zip(weights, stack.members.items(), strict=True):
        columns = np.concatenate([np.arange(*ends) for ends in stack.state["columns"][name]])
        p = add_head(g, member, g("Gather", x, columns.astype(np.int64), axis=1))
        terms.append(g("Mul", _logit(g, p, stacking.EPS), np.float64(weight)))
    return _sigmoid(g, g("Add", g("Sum", *terms), np.float64(offset)))


HEADS: dict[type[EmbeddingDetector], Callable[..., str]] = {
    LinearProbe: _probe,
    KNearestNeighbors: _knn,
    KernelSvm: _svm,
    Stacking: _stacking,
}


def add_calibration(g: GraphBuilder, calibrator: Calibrator, score: str) -> str:
    """Add the calibrated probability of a score, float64."""
    if calibrator.kind == "isotonic":  # a piecewise linear function, as a sum of ramps
        knots, shares = (np.array(calibrator.parameters[name]) for name in ("scores", "shares"))
        ramps = g("Clip", score, np.float64(knots[0]), np.float64(knots[-1]))
        ramps = g("Max", g("Sub", ramps, knots[:-1]), np.zeros(len(knots) - 1))
        rises = g("Mul", g("Min", ramps, np.diff(knots)), np.diff(shares) / np.diff(knots))
        return g("Add", g("ReduceSum", rises, [1], keepdims=1), np.float64(shares[0]))
    weights = [np.float64(weight) for weight in calibrator.parameters["weights"]]
    if calibrator.kind == "beta":
        p = g("Clip", score, np.float64(EPS), np.float64(1 - EPS))
        features = [g("Log", p), g("Neg", g("Log", g("Sub", np.float64(1), p)))]
    else:
        features = [_logit(g, score, float(EPS))]
    terms = [g("Mul", feature, weight) for feature, weight in zip(features, weights, strict=False)]
    return _sigmoid(g, g("Sum", *terms, *weights[len(features) :]))


def _unit_rows(g: GraphBuilder, x: str, dtype: Any) -> str:
    lengths = g("Sqrt", g("ReduceSum", g("Mul", x, x), [1], keepdims=1))
    return g("Div", x, g("Max", lengths, dtype(1e-12)))


def _logit(g: GraphBuilder, p: str, eps: float) -> str:
    p = g("Clip", p, np.float64(eps), np.float64(1 - eps))
    return g("Sub", g("Log", p), g("Log", g("Sub", np.float64(1), p)))


def _sigmoid(g: GraphBuilder, x: str) -> str:
    x = g("Clip", x, np.float64(-700), np.float64(700))
    return g("Div", np.float64(1), g("Add", np.float64(1), g("Exp", g("Neg", x))))
