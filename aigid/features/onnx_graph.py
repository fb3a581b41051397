"""The graph in an ONNX file: its inner tensors by the number of their block, and the weights that were quantized."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import numpy_helper

from aigid.core.errors import InputError

BLOCK_NODES = (  # the node that ends block {}, as torch's exporter names it for transformers' and timm's encoders
    "/vision_model/encoder/layers.{}/Add_1",
    "/encoder/layers.{}/Add_1",
    "/encoder/layer.{}/Add_1",
    "/blocks/blocks.{}/Add_1",
)


def operators(path: Path) -> set[str]:
    """Return the kinds of operators in a file's graph."""
    return {node.op_type for node in read(path).graph.node}


def read(path: Path) -> Any:
    """Return the model of a file; InputError where it is none."""
    try:
        return onnx.load(str(path))
    except (DecodeError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"weights {path}: not an ONNX model: {reason}") from None


def select_outputs(path: Path, layers: Sequence[int | str]) -> tuple[list[str], bytes]:
    """Return the tensors of ``layers``, and the model with only these as outputs; InputError as ``block_output``."""
    model = read(path)
    names = [block_output(layer, model.graph, path) for layer in layers]
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    return names, model.SerializeToString()


def block_output(layer: int | str, graph: Any, path: Path) -> str:
    """Return the tensor of a block by its number, or by its own name; InputError where the graph has none."""
    if isinstance(layer, str):
        if not any(layer in node.output for node in graph.node):
            raise InputError(f"weights {path}: no tensor {layer!r}")
        return layer
    nodes = {node.name: node.output[0] for node in graph.node}
    for pattern in BLOCK_NODES:
        num_blocks = next(number for number in itertools.count() if pattern.format(number) not in nodes)
        if -num_blocks <= layer < num_blocks:
            return str(nodes[pattern.format(layer % num_blocks)])
        if num_blocks:
            raise InputError(f"layer {layer}: the encoder has {num_blocks} blocks")
    raise InputError(f"weights {path}: no numbered blocks are known in it; `layers` wants the names of tensors")


def dequantized_state(path: Path) -> dict[str, NDArray[np.float32]]:
    """Return the float32 weights of a graph whose matrices ONNX Runtime quantized, by the names of their modules.

    A matrix is ``(q - zero_point) * scale`` by output column, (inputs, outputs) in the graph and transposed here; it
    belongs to the module that its ``MatMulInteger`` node is named after.
    """
    graph = read(path).graph
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    state = {
        name: np.array(numpy_helper.to_array(tensor))
        for name, tensor in initializers.items()
        if name.rpartition(".")[2] in ("weight", "bias", "class_embedding")
    }
    for node in graph.node:
        if node.op_type == "MatMulInteger":
            stem = node.input[1].removesuffix("_quantized")
            q, scale, zero = (
                numpy_helper.to_array(initializers[name]).astype(np.float32)
                for name in (node.input[1], f"{stem}_scale", node.input[3])
            )
            module = node.name.partition("/MatMul")[0].strip("/").replace("/", ".")
            state[f"{module}.weight"] = np.ascontiguousarray(((q - zero) * scale).T)
    return state
