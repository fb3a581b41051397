"""The graph in an ONNX file: its inner tensors by the number of their block, and the weights that were quantized.

Its outputs are exchanged in the file's bytes (Protocol Buffers' wire format), without the package onnx: a verdict need
not wait until 90 MB of weights have been parsed and written again.
"""

import itertools
from collections.abc import Iterator, Sequence
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aigid.core.errors import InputError, reason

GRAPH, NODE, OUTPUT = 7, 1, 12  # fields of ModelProto; of GraphProto
NODE_OUTPUT, NODE_NAME, NODE_OPERATOR, VALUE_NAME = 2, 3, 4, 1  # of NodeProto; of ValueInfoProto
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
BLOCK_NODES = (  # the node that ends block {}, as torch's exporter names it for transformers' and timm's encoders
    "/vision_model/encoder/layers.{}/Add_1",
    "/encoder/layers.{}/Add_1",
    "/encoder/layer.{}/Add_1",
    "/blocks/blocks.{}/Add_1",
)


class Node(NamedTuple):
    """An operator of a graph, and the tensors that it gives."""

    name: str
    operator: str
    outputs: list[str]


class Field(NamedTuple):
    """A field of a message: its number, where it starts, and where its value lies in the bytes."""

    number: int
    begin: int
    start: int
    stop: int


def operators(path: Path) -> set[str]:
    """Return the kinds of operators in a file's graph."""
    content, _, fields = _read(path)
    return {_node(content, field).operator for field in fields if field.number == NODE}


def select_outputs(path: Path, layers: Sequence[int | str]) -> tuple[list[str], bytes]:
    """Return the tensors of ``layers``, and the model with only these as outputs; InputError as ``block_output``."""
    content, graph, fields = _read(path)
    nodes = [_node(content, field) for field in fields if field.number == NODE]
    names = [block_output(layer, nodes, path) for layer in layers]
    view = memoryview(content)
    body: list[bytes | memoryview] = [view[field.begin : field.stop] for field in fields if field.number != OUTPUT]
    body += [_message(OUTPUT, _message(VALUE_NAME, name.encode())) for name in names]
    header = _message(GRAPH, b"", sum(map(len, body)))
    return names, b"".join([view[: graph.begin], header, *body, view[graph.stop :]])


def block_output(layer: int | str, nodes: Sequence[Node], path: Path) -> str:
    """Return the tensor of a block by its number, or by its own name; InputError where the graph has none."""
    if isinstance(layer, str):
        if not any(layer in node.outputs for node in nodes):
            raise InputError(f"weights {path}: no tensor {layer!r}")
        return layer
    first_outputs = {node.name: node.outputs[0] for node in nodes if node.outputs}
    for pattern in BLOCK_NODES:
        num_blocks = next(number for number in itertools.count() if pattern.format(number) not in first_outputs)
        if -num_blocks <= layer < num_blocks:
            return first_outputs[pattern.format(layer % num_blocks)]
        if num_blocks:
            raise InputError(f"layer {layer}: the encoder has {num_blocks} blocks")
    raise InputError(f"weights {path}: no numbered blocks are known in it; `layers` wants the names of tensors")


def _read(path: Path) -> tuple[mmap, Field, list[Field]]:
    """Return a file's bytes, its graph, and the fields of the graph; InputError where it is no model."""
    try:
        with path.open("rb") as file:
            content = mmap(file.fileno(), 0, access=ACCESS_READ)
        graph = next(field for field in _fields(content, 0, len(content)) if field.number == GRAPH)
        return content, graph, list(_fields(content, graph.start, graph.stop))
    except (OSError, ValueError, IndexError, StopIteration) as error:
        reason = f": {error}" if str(error) else ""
        raise InputError(f"weights {path}: not an ONNX model{reason}") from None


def _node(content: mmap, field: Field) -> Node:
    texts: dict[int, list[str]] = {NODE_OUTPUT: [], NODE_NAME: [], NODE_OPERATOR: []}
    for part in _fields(content, field.start, field.stop):
        if part.number in texts:
            texts[part.number].append(content[part.start : part.stop].decode())
    return Node("".join(texts[NODE_NAME]), "".join(texts[NODE_OPERATOR]), texts[NODE_OUTPUT])


def _fields(content: mmap, position: int, stop: int) -> Iterator[Field]:
    """Yield the fields of the message in ``content[position:stop]``; ValueError or IndexError where it is none."""
    while position < stop:
        tag, start = _varint(content, position)
        kind, size = tag & 7, 0
        if kind == BYTES:
            size, start = _varint(content, start)
        elif kind == VARINT:
            size = _varint(content, start)[1] - start
        elif kind in (FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
        if start + size > stop or tag >> 3 == 0 or kind not in (VARINT, FIXED64, BYTES, FIXED32):
            raise ValueError(f"byte {position}: no field")
        yield Field(tag >> 3, position, start, start + size)
        position = start + size


def _varint(content: mmap, position: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while (byte := content[position]) & 0x80:
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
    return value | byte << shift, position + 1


def _message(number: int, value: bytes, size: int | None = None) -> bytes:
    """Return a field of bytes; with ``size`` its value follows elsewhere."""
    result, left = bytearray([number << 3 | BYTES]), len(value) if size is None else size
    while left > 0x7F:
        result.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*result, left]) + value


def dequantized_state(path: Path) -> dict[str, NDArray[np.float32]]:
    """Return the float32 weights of a graph whose matrices ONNX Runtime quantized, by the names of their modules.

    A matrix is ``(q - zero_point) * scale`` by output column, (inputs, outputs) in the graph and transposed here; it
    belongs to the module that its ``MatMulInteger`` node is named after.
    """
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import numpy_helper

    try:
        graph = onnx.load(str(path)).graph
    except (DecodeError, OSError) as error:
        raise InputError(f"weights {path}: not an ONNX model: {reason(error, 200)}") from None
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
