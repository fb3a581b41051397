"""Encoders in ONNX: exact and independent of their company, inner layers, dequantized weights, and what is refused."""

import contextlib
import json
import logging

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from aigid.core.errors import InputError
from aigid.features.backbones import BackboneSettings, backbone_settings
from aigid.features.encoder import TorchBackbone
from aigid.features.loaders import onnx as loader
from aigid.features.loaders.onnx import PRODUCT, OnnxBackbone, choose_provider
from aigid.features.onnx_graph import dequantized_state, operators, select_outputs
from aigid.features.preprocess import CLIP_MEAN, CLIP_STD
from tests.helpers.images import random_images
from tests.helpers.onnx_models import export_clip, quantize, random_clip
from tests.helpers.tiny_models import CLIP_VISION

CPU = torch.device("cpu")
IMAGES = random_images(12)


@pytest.fixture(scope="module")
def model():
    return random_clip()


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    return export_clip(model, tmp_path_factory.mktemp("onnx") / "clip.onnx")


@pytest.fixture(scope="module")
def int8(file):
    return quantize(file, file.with_name("clip.int8.onnx"))


def settings(path, size=32, **changes):
    return BackboneSettings(library="onnx", model="tiny", weights=str(path), preprocess={"size": size}, **changes)


def backbone(path, size=32, **changes):
    return OnnxBackbone(settings(path, size, **changes))


def refusal(path, size=32, **changes):
    with pytest.raises(InputError) as caught:
        backbone(path, size, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def normalized(images):
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    return (pixels - torch.tensor(CLIP_MEAN).view(3, 1, 1)) / torch.tensor(CLIP_STD).view(3, 1, 1)


def test_the_embedding_is_the_source_models(model, file):
    with torch.inference_mode():
        expected = model(normalized(IMAGES)).image_embeds.numpy()
    ours = backbone(file)
    np.testing.assert_allclose(ours.encode(IMAGES), expected, atol=1e-5)
    assert ours.dim == 24
    assert ours.weights_files == {"clip.onnx": ours.weights_sha256}


@pytest.mark.parametrize("kind", ["file", "int8"])
def test_an_embedding_is_equal_to_the_byte_in_any_company(kind, request, monkeypatch):
    path = request.getfixturevalue(kind)
    monkeypatch.setenv("AIGID_WORKERS", "2")
    one, two = backbone(path), backbone(path)
    rows = one.encode(IMAGES)
    np.testing.assert_array_equal(np.concatenate([one.encode(image[None]) for image in IMAGES]), rows)
    np.testing.assert_array_equal(two.encode(IMAGES[::-1])[::-1], rows)
    monkeypatch.setenv("AIGID_WORKERS", "1")
    np.testing.assert_array_equal(backbone(path).encode(IMAGES), rows)
    assert one.fingerprint == two.fingerprint


def test_a_batch_would_change_a_quantized_embedding(int8):
    """Which is why images run one at a time."""
    ours = backbone(int8)
    pixels = normalized(IMAGES).numpy()
    together = ours._session.run(["image_embeds"], {"pixel_values": pixels})[0]
    assert not np.array_equal(together, ours.encode(IMAGES))


def product_graph(path, weight):
    """A graph whose only product is of uint8 pixels and int8 weights."""
    nodes = [
        helper.make_node("Flatten", ["pixel_values"], ["flat"]),
        helper.make_node("DynamicQuantizeLinear", ["flat"], ["q", "scale", "zero"]),
        helper.make_node("MatMulInteger", ["q", "weight"], ["product"], name="/product/MatMul_quant"),
        helper.make_node("Cast", ["product"], ["image_embeds"], to=TensorProto.FLOAT),
    ]
    pixels = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, 8, 8])
    output = helper.make_tensor_value_info("image_embeds", TensorProto.FLOAT, ["batch", weight.shape[1]])
    graph = helper.make_graph(nodes, "g", [pixels], [output], [numpy_helper.from_array(weight, "weight")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_the_graph_that_tells_whether_products_saturate_is_one_product_of_two_largest_pairs():
    weight = helper.make_tensor("b", TensorProto.INT8, (2, 1), [127, 127])
    a, c = (
        helper.make_tensor_value_info(name, kind, shape)
        for name, kind, shape in (("a", TensorProto.UINT8, (1, 2)), ("c", TensorProto.INT32, (1, 1)))
    )
    graph = helper.make_graph([helper.make_node("MatMulInteger", ["a", "b"], ["c"])], "g", [a], [c], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    assert onnx.load_model_from_string(PRODUCT) == model


@pytest.mark.parametrize("saturate", [False, True])
def test_exact_products_are_switched_on_only_where_the_cpu_saturates(monkeypatch, file, saturate):
    monkeypatch.setattr(loader, "products_saturate", lambda: saturate)
    options = loader.open_session(file, None, "cpu").get_session_options()
    try:
        chosen = options.get_session_config_entry("session.x64quantprecision") == "1"
    except RuntimeError:  # there is no such entry
        chosen = False
    assert chosen == saturate


@pytest.mark.parametrize(("text", "said"), [("flags\t\t: fpu sse4_2\n", 1), ("flags\t\t: fpu avx avx2\n", 0), ("", 0)])
def test_a_processor_without_avx_is_named_once(text, said, tmp_path, monkeypatch, caplog, file):
    (tmp_path / "cpuinfo").write_text(f"model name\t: x\n{text}bugs\t\t: none\n")
    monkeypatch.setattr(loader, "CPU_INFO", tmp_path / "cpuinfo")
    loader.warn_without_avx.cache_clear()
    for _ in range(2):
        loader.open_session(file, None, "cpu")
    loader.warn_without_avx.cache_clear()
    assert caplog.text.count("has no AVX") == said


def test_extreme_products_of_integers_are_exact(tmp_path):
    """On a CPU without VNNI two products of uint8 and int8 are added in 16 bits, which saturate."""
    weight = np.random.default_rng(0).choice(np.array([-128, 127], np.int8), (192, 64))
    weight[:, 0] = 127
    path = product_graph(tmp_path / "product.onnx", weight)
    image = np.full((1, 8, 8, 3), 255, np.uint8)
    image[0, :4, :, 1] = 254
    exact = image.transpose(0, 3, 1, 2).reshape(1, -1).astype(np.int64) @ weight.astype(np.int64)
    plain = {"size": 8, "mean": (0, 0, 0), "std": (1, 1, 1)}
    ours = OnnxBackbone(BackboneSettings(library="onnx", model="x", weights=str(path), preprocess=plain))
    np.testing.assert_array_equal(ours.encode(image), exact)


@pytest.mark.parametrize("pool", ["cls", "mean", "cls_mean"])
@pytest.mark.parametrize("layers", [[0], [-1], [1, 0], ["tokens", 0]])
def test_inner_layers_are_the_source_models_hidden_states(model, file, layers, pool):
    with torch.inference_mode():
        states = model.vision_model(normalized(IMAGES), output_hidden_states=True).hidden_states[1:]
    blocks = [states[-1 if layer == "tokens" else layer].numpy() for layer in layers]  # the last block's tensor
    parts = {"cls": [lambda x: x[:, 0]], "mean": [lambda x: x[:, 1:].mean(axis=1)]}
    parts["cls_mean"] = parts["cls"] + parts["mean"]
    expected = np.concatenate([part(block) for block in blocks for part in parts[pool]], axis=1)
    np.testing.assert_allclose(backbone(file, layers=layers, pool=pool).encode(IMAGES), expected, atol=1e-4)


def test_inner_layers_of_a_quantized_graph_are_those_of_its_weights_in_torch(int8):
    onnx_rows = backbone(int8, layers=[0, -1], pool="cls_mean").encode(IMAGES)
    torch_rows = TorchBackbone(
        settings(int8, layers=[0, -1], pool="cls_mean", config=None).model_copy(
            update={"library": "transformers", "config": CLIP_VISION}
        ),
        CPU,
    ).encode(IMAGES)
    assert onnx_rows.shape == torch_rows.shape == (12, 4 * 32)
    cosine = (onnx_rows * torch_rows).sum(1) / np.linalg.norm(onnx_rows, axis=1) / np.linalg.norm(torch_rows, axis=1)
    assert cosine.min() > 0.999


def test_outputs_are_exchanged_as_by_the_package_onnx(int8):
    names, content = select_outputs(int8, [0, -1])
    expected = onnx.load(str(int8))
    assert operators(int8) == {node.op_type for node in expected.graph.node}
    del expected.graph.output[:]
    expected.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    assert onnx.load_from_string(content) == expected


def test_a_file_that_was_cut_short_or_altered_is_no_model_or_another(file, tmp_path):
    content, rng = file.read_bytes(), np.random.default_rng(0)
    for number in range(60):
        bad = bytearray(content[: len(content) - number * 997])
        bad[int(rng.integers(len(bad)))] ^= 1 << number % 8
        (tmp_path / "bad.onnx").write_bytes(bad)
        with contextlib.suppress(InputError):
            select_outputs(tmp_path / "bad.onnx", [0])


def test_tokens_by_the_name_of_an_output(file, model):
    with torch.inference_mode():
        tokens = model.vision_model(normalized(IMAGES)).last_hidden_state.numpy()
    np.testing.assert_allclose(
        backbone(file, output="tokens", pool="mean").encode(IMAGES), tokens[:, 1:].mean(axis=1), atol=1e-4
    )


def test_dequantized_weights_are_scaled_by_column(tmp_path):
    path = tmp_path / "product.onnx"
    product_graph(path, np.array([[10, -7], [0, 127], [-128, 5]], np.int8))
    graph = onnx.load(path)
    names = ["fc.weight_quantized", "fc.weight_scale", "fc.weight_zero_point"]
    arrays = [np.array([[10, -7], [0, 127], [-128, 5]], np.int8), np.float32([0.5, 2]), np.int8([1, -3])]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(numpy_helper.from_array(a, n) for a, n in zip(arrays, names, strict=True))
    graph.graph.initializer.append(numpy_helper.from_array(np.float32([3, 4]), "model.fc.bias"))
    node = graph.graph.node[2]
    node.name = "/model/fc/MatMul_quant"
    del node.input[:]
    node.input.extend(["q", names[0], "zero", names[2]])
    onnx.save(graph, path)
    state = dequantized_state(path)
    assert set(state) == {"model.fc.weight", "model.fc.bias"}
    np.testing.assert_array_equal(state["model.fc.weight"], [[4.5, -0.5, -64.5], [-8, 260, 16]])  # by hand, transposed
    np.testing.assert_array_equal(state["model.fc.bias"], [3, 4])


def test_dequantized_weights_make_the_source_model(model, int8):
    changed = settings(int8).model_copy(update={"library": "transformers", "config": CLIP_VISION})
    with torch.inference_mode():
        expected = model(normalized(IMAGES)).image_embeds.numpy()
    rows = TorchBackbone(changed, CPU).encode(IMAGES)
    cosine = (rows * expected).sum(1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(expected, axis=1)
    assert 0.999 < cosine.min() < 1
    for name, value in dequantized_state(int8).items():
        source = model.state_dict()[name].numpy()
        step = np.abs(source).max() / 127 if value.ndim == 2 and "embedding" not in name else 0
        assert np.abs(value - source).max() <= step * 0.51, name


@pytest.mark.parametrize("precision", ["auto", "bfloat16", "float32"])
def test_precision_of_a_cpu(precision, monkeypatch):
    config = CLIP_VISION | {"num_hidden_layers": 1}
    wanted = BackboneSettings(
        library="transformers", model="tiny", config=config, preprocess={"size": 32}, precision=precision
    )
    plain = TorchBackbone(wanted.model_copy(update={"precision": "float32"}), CPU)
    for fast in (False, True):
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda fast=fast: fast)
        ours = TorchBackbone(wanted, CPU)
        narrow = precision == "bfloat16" or (precision == "auto" and fast)
        assert ours.device_info == ("cpu bfloat16" if narrow else "cpu float32")
        assert (ours.fingerprint == plain.fingerprint) == (not narrow)
        rows, expected = ours.encode(IMAGES), plain.encode(IMAGES)
        assert np.array_equal(rows, expected) == (not narrow)
        np.testing.assert_allclose(rows, expected, atol=0.05 * np.abs(expected).max())


def graph_with(path, inputs, outputs=None):
    values = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs]
    name = inputs[0][0]
    nodes = [helper.make_node("Cast", [name], ["float"], to=TensorProto.FLOAT)]
    nodes += [helper.make_node("Flatten", ["float"], [output]) for output in outputs or ["embedding"]]
    made = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["b", "d"]) for output in outputs or ["embedding"]]
    onnx.save(
        helper.make_model(
            helper.make_graph(nodes, "g", values, made),
            opset_imports=[helper.make_opsetid("", 17)],
            ir_version=9,
        ),
        path,
    )
    return path


FLOAT, BYTES = TensorProto.FLOAT, TensorProto.UINT8


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([("a", FLOAT, ["b", 3, 8, 8]), ("c", FLOAT, ["b", 3, 8, 8])], "2 inputs (a tensor(float) ['b', 3, 8, 8], c"),
        ([("a", BYTES, ["b", 3, 8, 8])], "its input is a tensor(uint8) ['b', 3, 8, 8]; want float32 images"),
        ([("a", FLOAT, ["b", 8, 8, 3])], "want float32 images (B, 3, S, S)"),
        ([("a", FLOAT, ["b", 192])], "want float32 images (B, 3, S, S)"),
        ([("a", FLOAT, ["b", 3, 16, 16])], "`preprocess` makes images of 8 px"),
        ([("a", FLOAT, [2, 3, 8, 8])], "its batch is fixed to 2 images; export it with a free one"),
    ],
)
def test_another_input_is_said(tmp_path, inputs, message):
    assert message in refusal(graph_with(tmp_path / "other.onnx", inputs), size=8)


def test_a_batch_fixed_to_one_is_said(model, file, tmp_path, caplog):
    path = export_clip(model, tmp_path / "one.onnx", batch=1)
    with caplog.at_level(logging.WARNING):
        rows = backbone(path).encode(IMAGES)
    assert "its batch is fixed to one" in caplog.text
    np.testing.assert_allclose(rows, backbone(file).encode(IMAGES), atol=1e-5)


def test_outputs_are_named_where_they_are_several(tmp_path, file):
    path = graph_with(tmp_path / "two.onnx", [("a", FLOAT, ["b", 3, 8, 8])], ["x", "y"])
    assert "`output` must name the embedding, one of x, y" in refusal(path, size=8)
    assert backbone(path, size=8, output="y").dim == 192
    assert "no output 'z'; it has x, y" in refusal(path, size=8, output="z")


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x08\x09" * 40])
def test_what_is_no_onnx_file(tmp_path, content):
    (tmp_path / "bad.onnx").write_bytes(content)
    for changes in ({}, {"layers": [0], "pool": "cls"}):
        assert refusal(tmp_path / "bad.onnx", **changes).startswith(f"weights {tmp_path / 'bad.onnx'}: ")
    assert "nowhere.onnx: no such file" in refusal(tmp_path / "nowhere.onnx")


def test_pools_and_layers_that_it_cannot_have(file, tmp_path):
    for pool in ("cls", "mean", "before_projection"):
        assert f"pool: {pool}: of an ONNX file it wants `layers`" in refusal(file, pool=pool)
    assert "pool: cls: the output is one embedding of an image" in refusal(file, output="image_embeds", pool="cls")
    assert "pool: own: of tokens it must be cls, mean or cls_mean" in refusal(file, output="tokens")
    assert "pool: before_projection: of tokens" in refusal(file, output="tokens", pool="before_projection")
    assert "layer 2: the encoder has 2 blocks" in refusal(file, layers=[2], pool="cls")
    assert "no tensor 'nowhere'" in refusal(file, layers=["nowhere"], pool="cls")
    assert "layer -3: the encoder has 2 blocks" in refusal(file, layers=[-3], pool="cls")
    with pytest.raises(ValueError, match="layers: pool: own: want cls, mean or cls_mean"):
        settings(file, layers=[0])
    unknown = graph_with(tmp_path / "flat.onnx", [("a", FLOAT, ["b", 3, 8, 8])])
    assert "no numbered blocks are known in it" in refusal(unknown, size=8, layers=[0], pool="mean")


def test_its_preprocessing_lies_beside_it(model, tmp_path):
    path = export_clip(model, tmp_path / "clip.onnx")
    with pytest.raises(InputError, match=r"does not say its preprocessing; put preprocessor_config\.json beside it"):
        backbone_settings(f"onnx:{path}")
    record = {"size": {"height": 32, "width": 32}, "resample": 2, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(record))
    found = backbone_settings(f"onnx:{path}").preprocess
    assert found.model_dump() == {
        "size": 32,
        "resize": "squash",
        "crop_fraction": 1.0,
        "interpolation": "bilinear",
        "mean": (0.5,) * 3,
        "std": (0.25,) * 3,
    }
    changed = backbone_settings(f"onnx:{path}", {"preprocess": {"size": 64}}).preprocess
    assert changed == found.model_copy(update={"size": 64})  # the rest is the record's


def test_the_provider_is_one_that_is_installed(monkeypatch):
    monkeypatch.delenv("AIGID_ONNX_PROVIDER", raising=False)
    assert choose_provider() == "cpu"
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setenv("AIGID_ONNX_PROVIDER", "CUDA")
    with pytest.raises(InputError, match="AIGID_ONNX_PROVIDER=cuda: this onnxruntime has no CUDAExecutionProvider"):
        choose_provider()
    monkeypatch.setenv("AIGID_ONNX_PROVIDER", "tpu")
    with pytest.raises(InputError, match="AIGID_ONNX_PROVIDER=tpu: want one of cpu, cuda, openvino"):
        choose_provider()
