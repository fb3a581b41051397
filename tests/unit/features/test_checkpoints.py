"""Checkpoints on disk: every format gives the same embedding, and what does not fit is named in one line."""

import hashlib
import json
import os

import numpy as np
import open_clip
import pytest
import torch
import transformers
from safetensors.torch import save_file

from aigid.core.errors import InputError
from aigid.features import checkpoints, preprocess
from aigid.features.backbones import BackboneSettings
from aigid.features.encoder import TorchBackbone
from tests.helpers.images import random_images
from tests.helpers.tiny_models import CLIP, CLIP_VISION, DINOV2, SIGLIP

QUICK = CLIP | {"quick_gelu": True, "vision_cfg": CLIP["vision_cfg"] | {"mlp_ratio": 2.0}}


def backbone(library, path, **changes):
    settings = BackboneSettings(
        library=library, model="tiny", weights=str(path), preprocess={"size": 32}, dtype="float32", **changes
    )
    return TorchBackbone(settings, torch.device("cpu"))


def refusal(library, path, **changes):
    with pytest.raises(InputError) as caught:
        backbone(library, path, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def in_open_clips_names(theirs):
    """The state dict of transformers' CLIPVisionModelWithProjection, as OpenAI and open_clip name and shape it."""
    names = {
        "class_embedding": "embeddings.class_embedding",
        "positional_embedding": "embeddings.position_embedding.weight",
        "conv1.weight": "embeddings.patch_embedding.weight",
    }
    norms = {"ln_pre": "pre_layrnorm", "ln_post": "post_layernorm"}
    for n in range(2):
        ours, layer = f"transformer.resblocks.{n}", f"encoder.layers.{n}"
        norms |= {f"{ours}.ln_1": f"{layer}.layer_norm1", f"{ours}.ln_2": f"{layer}.layer_norm2"}
        norms |= {f"{ours}.mlp.c_fc": f"{layer}.mlp.fc1", f"{ours}.mlp.c_proj": f"{layer}.mlp.fc2"}
        norms |= {f"{ours}.attn.out_proj": f"{layer}.self_attn.out_proj"}
    names |= {f"{a}.{end}": f"{b}.{end}" for a, b in norms.items() for end in ("weight", "bias")}
    state = {f"visual.{a}": theirs[f"vision_model.{b}"] for a, b in names.items()}
    for n in range(2):
        for end in ("weight", "bias"):
            parts = [theirs[f"vision_model.encoder.layers.{n}.self_attn.{part}_proj.{end}"] for part in "qkv"]
            state[f"visual.transformer.resblocks.{n}.attn.in_proj_{end}"] = torch.cat(parts)
    state["visual.proj"] = theirs["visual_projection.weight"].T.contiguous()
    return state


@pytest.fixture
def clip(tmp_path):
    """One CLIP of random weights: a folder as transformers saves it, and the same tensors by open_clip's names."""
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(**CLIP_VISION | {"hidden_act": "quick_gelu"})
    model = transformers.CLIPVisionModelWithProjection(config)
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms too
            parameter += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(tmp_path / "hf")
    return tmp_path / "hf", in_open_clips_names(model.state_dict())


@pytest.mark.parametrize("pool", ["own", "before_projection"])
def test_both_libraries_embed_alike(clip, tmp_path, pool):
    folder, state = clip
    save_file(state, tmp_path / "clip.safetensors")
    ours = (
        backbone("open_clip", tmp_path / "clip.safetensors", config=QUICK, pool=pool)
        .encode(random_images(8))
        .astype(float)
    )
    theirs = backbone("transformers", folder, pool=pool).encode(random_images(8)).astype(float)
    cosine = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert (1 - cosine < 1e-6).all()
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), np.linalg.norm(theirs, axis=1), rtol=1e-5)
    plain = backbone("open_clip", tmp_path / "clip.safetensors", config=QUICK | {"quick_gelu": False}, pool=pool)
    assert not np.allclose(plain.encode(random_images(8)), theirs, rtol=1e-3)  # another activation gives other rows


def test_every_format_of_open_clip_gives_the_same_encoder(clip, tmp_path):
    _, state = clip
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": QUICK, "preprocess_cfg": {}}))
    complete = open_clip.CLIP(**QUICK).state_dict() | state
    save_file(complete, folder / "open_clip_model.safetensors")
    torch.save(complete, tmp_path / "clip.pt")
    torch.save({"state_dict": {f"module.{key}": value for key, value in complete.items()}}, tmp_path / "trained.pt")
    backbones = [backbone("open_clip", tmp_path / name, config=QUICK) for name in ("clip.pt", "trained.pt", "folder")]
    assert len({each.weights_sha256 for each in backbones}) == 1
    assert len({each.fingerprint for each in backbones}) == 1
    assert backbones[0].weights_files == {"clip.pt": hashlib.sha256((tmp_path / "clip.pt").read_bytes()).hexdigest()}
    assert set(backbones[2].weights_files) == {"open_clip_config.json", "open_clip_model.safetensors"}


@pytest.mark.parametrize(
    ("kind", "config"),
    [("CLIPVisionModelWithProjection", CLIP_VISION), ("SiglipVisionModel", SIGLIP), ("Dinov2Model", DINOV2)],
)
def test_every_format_of_transformers_gives_the_same_encoder(tmp_path, kind, config):
    model = getattr(transformers, kind)(transformers.AutoConfig.for_model(**config))
    model.save_pretrained(tmp_path / "hf")
    torch.save(model.state_dict(), tmp_path / "model.pt")
    backbones = [
        backbone("transformers", tmp_path / "hf"),
        backbone("transformers", tmp_path / "hf/model.safetensors"),
        backbone("transformers", tmp_path / "model.pt", config=config),
    ]
    assert len({each.weights_sha256 for each in backbones}) == 1


def test_the_image_encoder_of_a_clip_with_text(tmp_path):
    config = transformers.CLIPConfig(
        vision_config=CLIP_VISION,
        text_config={"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
        projection_dim=24,
    )
    model = transformers.CLIPModel(config)
    model.save_pretrained(tmp_path)
    folder, file = backbone("transformers", tmp_path), backbone("transformers", tmp_path / "model.safetensors")
    by_open_clip = backbone("open_clip", tmp_path)
    assert folder.fingerprint == file.fingerprint == by_open_clip.fingerprint
    projection = model.visual_projection.weight.detach().numpy()
    before = backbone("transformers", tmp_path, pool="before_projection")
    np.testing.assert_allclose(before.encode(random_images()) @ projection.T, folder.encode(random_images()), atol=1e-5)


def test_keys_that_do_not_fit_are_named_and_counted(clip, tmp_path):
    folder, state = clip
    incomplete = {key: value for key, value in state.items() if "resblocks.1" not in key} | {
        "head.weight": torch.ones(2)
    }
    torch.save(incomplete, tmp_path / "incomplete.pt")
    message = refusal("open_clip", tmp_path / "incomplete.pt", config=QUICK)
    assert "missing: visual.transformer.resblocks.1.attn.in_proj_bias, " in message
    assert message.endswith("and 9 more; unexpected: head.weight")
    message = refusal("open_clip", folder / "model.safetensors", config=QUICK)
    assert "in transformers' format; name its folder" in message
    theirs = transformers.CLIPVisionModelWithProjection.from_pretrained(folder).state_dict()
    theirs["vision_model.post_layernorm.bias"] = torch.zeros(7)
    del theirs["visual_projection.weight"]
    save_file(theirs | {"head.weight": torch.ones(2)}, folder / "model.safetensors", {"format": "pt"})
    for path in (folder, folder / "model.safetensors"):
        message = refusal("transformers", path)
        assert "keys missing: visual_projection.weight; unexpected: head.weight; of another shape: " in message
        assert message.endswith("post_layernorm.bias")
    narrow = QUICK | {"embed_dim": 12}
    torch.save(state, tmp_path / "clip.pt")
    assert "visual.proj" in refusal("open_clip", tmp_path / "clip.pt", config=narrow)


class Malicious:
    """Would make a folder when unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize(("library", "config"), [("open_clip", CLIP), ("transformers", SIGLIP)])
def test_a_checkpoint_that_would_run_code_is_refused(library, config, tmp_path):
    torch.save({"state_dict": Malicious(tmp_path / "made")}, tmp_path / "evil.pt")
    message = refusal(library, tmp_path / "evil.pt", config=config)
    assert "evil.pt: refused: it holds posix.mkdir, not tensors alone" in message
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(("library", "config"), [("open_clip", CLIP), ("transformers", SIGLIP)])
@pytest.mark.parametrize("name", ["clip.pt", "clip.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"\x80\x02." * 40])
def test_what_is_no_checkpoint(library, config, name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert refusal(library, tmp_path / name, config=config).startswith(f"weights {tmp_path / name}: ")


@pytest.mark.filterwarnings("ignore:.*torch.jit", "ignore:.*TorchScript")
def test_a_torchscript_program_is_refused(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "jit.pt")
    assert "a TorchScript program; torch.save(" in refusal("open_clip", tmp_path / "jit.pt", config=CLIP)


def test_a_folder_without_weights(tmp_path):
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": CLIP}))
    assert "holds no .safetensors, .bin or .pth file" in refusal("open_clip", tmp_path)
    assert refusal("transformers", tmp_path).startswith(f"weights {tmp_path}: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(1)], "holds a list, want a dictionary of tensors by name"),
        (torch.zeros(1), "holds a Tensor, want a dictionary"),
        ({"state_dict": [1]}, "holds a list, want"),
        ({"weight": torch.zeros(1), "epoch": 3}, "'epoch' is a int; want tensors by name alone"),
        ({3: torch.zeros(1)}, "3 is a Tensor; want tensors by name"),
    ],
)
def test_a_checkpoint_of_odd_content_is_named_with_its_path(tmp_path, content, message):
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(InputError, match=rf"odd\.pth: {message}"):
        checkpoints.read(tmp_path / "odd.pth")
    for library, config in (("open_clip", CLIP), ("transformers", SIGLIP)):
        assert "odd.pth: " in refusal(library, tmp_path / "odd.pth", config=config)


def test_code_of_a_repository_is_refused_by_name(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(SIGLIP | {"auto_map": {"AutoModel": "own.py--Model"}}))
    assert "auto_map names code of the repository (own.py--Model), which is never run" in refusal(
        "transformers", tmp_path
    )


def test_preprocessing_that_contradicts_the_weights_own_is_said(tmp_path, caplog):
    torch.manual_seed(0)
    transformers.SiglipVisionModel(transformers.AutoConfig.for_model(**SIGLIP)).save_pretrained(tmp_path)
    half = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 3, "size": {"height": 32, "width": 32}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(half))
    caplog.clear()
    backbone("transformers", tmp_path)
    (line,) = [record.getMessage() for record in caplog.records if "trained with" in record.getMessage()]
    assert "preprocessor_config.json: these weights were trained with resize squash, not shortest; mean (0.5, " in line
    message = refusal("open_clip", tmp_path, pretrained="openai")
    assert "config.json is of siglip_vision_model, the backbone tiny is not" in message
    caplog.clear()
    same = {"size": 32, "resize": "squash", "mean": [0.5] * 3, "std": [0.5] * 3}
    preprocess.warn_of_contradictions(preprocess.Preprocess(**same), str(tmp_path))
    assert not caplog.records


def test_open_clips_record_is_compared_and_no_weights_are_called_random(tmp_path, caplog):
    record = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": CLIP, "preprocess_cfg": record}))
    torch.save(open_clip.CLIP(**CLIP).state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    caplog.clear()
    backbone("open_clip", tmp_path)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "mean (0.5, 0.5, 0.5), not (0.48145466, 0.4578275, 0.40821073); std" in line
