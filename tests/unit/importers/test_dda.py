"""DDA's checkpoint: the bundle's logits are those of its published form, computed here without timm and unmerged."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch.nn.functional import conv2d, gelu, interpolate, layer_norm

from aigid.cli.main import main
from aigid.core.errors import InputError
from aigid.detectors import bundle as bundles
from aigid.detectors.bundle import score
from aigid.detectors.samples import open_dataset
from aigid.features.backbones import backbone_settings
from aigid.features.extract import extract
from aigid.features.preprocess import CLIP_MEAN, CLIP_STD
from aigid.images.decode import decode
from aigid.importers import ImportRequest, dda, get_importer
from aigid.prediction.predict import Predictor
from tests.helpers.images import noise_folder

WIDTH, DEPTH, HEADS, PATCH, GRID, SIDE = 24, 2, 2, 8, 7, 4  # positions of 7 x 7 patches, images of 4 x 4
CONFIG = {"img_size": SIDE * PATCH, "patch_size": PATCH, "embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS}
TINY = {
    "library": "timm",
    "model": "tiny",
    "config": CONFIG | {"init_values": 1.0},
    "preprocess": {"size": SIDE * PATCH, "resize": "none"},
    "dtype": "float32",
}


def checkpoint(width=WIDTH):
    """What DDA's training saves, of random numbers."""
    draw = torch.Generator().manual_seed(0)

    def tensor(*shape):
        return torch.randn(shape, generator=draw) * 0.2

    state = {"cls_token": tensor(1, 1, width), "pos_embed": tensor(1, 1 + GRID**2, width)}
    state |= {"mask_token": tensor(1, width), "norm.weight": tensor(width), "norm.bias": tensor(width)}
    state |= {"patch_embed.proj.weight": tensor(width, 3, PATCH, PATCH), "patch_embed.proj.bias": tensor(width)}
    layers = {"attn.qkv": (3, 1), "attn.proj": (1, 1), "mlp.fc1": (4, 1), "mlp.fc2": (1, 4)}
    for block in range(DEPTH):
        for name, (out, into) in layers.items():
            at = f"blocks.{block}.{name}"
            state[f"{at}.original_layer.weight"] = tensor(out * width, into * width)
            state[f"{at}.original_layer.bias"] = tensor(out * width)
            state[f"{at}.lora.lora_A"], state[f"{at}.lora.lora_B"] = tensor(8, into * width), tensor(out * width, 8)
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "ls1.gamma", "ls2.gamma"):
            state[f"blocks.{block}.{name}"] = tensor(width)
    state = {f"base_model.model.{name}": value for name, value in state.items()}
    state |= {"base_model.fc.weight": tensor(1, width), "base_model.fc.bias": tensor(1)}
    return {"model": state, "optimizer": {"state": {0: {"exp_avg": tensor(2)}}, "param_groups": []}, "total_steps": 9}


def logits(saved, images):
    """(N, S, S, 3) uint8 to (N,): DINOv2's transformer with DDA's layers, as the paper and its code describe them."""
    state = {name.removeprefix("base_model."): value for name, value in saved["model"].items()}

    def linear(x, name):
        w, b, down, up = (
            state[f"{name}.{it}"]
            for it in ("original_layer.weight", "original_layer.bias", "lora.lora_A", "lora.lora_B")
        )
        return x @ w.T + b + (x @ down.T) @ up.T / 8

    def norm(x, name):
        return layer_norm(x, (WIDTH,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    x = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - torch.tensor(CLIP_MEAN).view(3, 1, 1)) / torch.tensor(
        CLIP_STD
    ).view(3, 1, 1)
    x = conv2d(x, state["model.patch_embed.proj.weight"], state["model.patch_embed.proj.bias"], stride=PATCH)
    x = torch.cat([state["model.cls_token"].expand(len(x), 1, WIDTH), x.flatten(2).transpose(1, 2)], dim=1)
    own = state["model.pos_embed"]
    grid = own[:, 1:].reshape(1, GRID, GRID, WIDTH).permute(0, 3, 1, 2)
    grid = interpolate(grid, scale_factor=((SIDE + 0.1) / GRID,) * 2, mode="bicubic")
    x = x + torch.cat([own[:, :1], grid.permute(0, 2, 3, 1).reshape(1, SIDE**2, WIDTH)], dim=1)
    for at in (f"model.blocks.{block}" for block in range(DEPTH)):
        q, k, v = linear(norm(x, f"{at}.norm1"), f"{at}.attn.qkv").chunk(3, dim=-1)
        parts = zip(*(it.chunk(HEADS, dim=-1) for it in (q, k, v)), strict=True)
        seen = [((q @ k.transpose(1, 2)) / q.shape[-1] ** 0.5).softmax(dim=-1) @ v for q, k, v in parts]
        x = x + state[f"{at}.ls1.gamma"] * linear(torch.cat(seen, dim=-1), f"{at}.attn.proj")
        inner = gelu(linear(norm(x, f"{at}.norm2"), f"{at}.mlp.fc1"))
        x = x + state[f"{at}.ls2.gamma"] * linear(inner, f"{at}.mlp.fc2")
    return (norm(x, "model.norm")[:, 0] @ state["fc.weight"].T + state["fc.bias"])[:, 0].numpy()


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """A checkpoint, where the published tower is a tiny one."""
    monkeypatch.setattr(dda, "published", lambda: backbone_settings("tiny", TINY))
    torch.save(checkpoint(), tmp_path / "ckpt.pth")
    return tmp_path / "ckpt.pth"


def bring(path):
    return get_importer("dda")(ImportRequest(weights=path))


def test_logits_are_those_of_the_published_form(saved, tmp_path):
    done = CliRunner().invoke(main, ["import", "dda", "--weights", str(saved), "--out", str(tmp_path / "bundle")])
    assert done.exit_code == 0, done.stderr
    table = noise_folder(tmp_path, 6)
    bundle = Predictor(tmp_path / "bundle")
    images = np.stack([decode(tmp_path / path) for path in table["path"]])
    expected = logits(checkpoint(), images)
    assert np.ptp(expected) > 0.01
    found = bundle.predict([tmp_path / path for path in table["path"]])
    p = np.array([it.score for it in found])
    np.testing.assert_allclose(np.log(p / (1 - p)), expected, atol=1e-5)
    settings = backbone_settings("mine", TINY | {"weights": str(tmp_path / "bundle/tower.safetensors")})
    extract(table, tmp_path, settings).write(tmp_path / "e.h5")
    again = score(bundles.load(tmp_path / "bundle"), open_dataset(table, [tmp_path / "e.h5"]))["score"]
    np.testing.assert_allclose(again, p, atol=1e-6)


def test_the_bare_tower_is_another_backbone(saved, tmp_path):
    bundles.save(bring(saved), tmp_path / "bundle")
    table = noise_folder(tmp_path, 2)
    extract(table, tmp_path, backbone_settings("mine", TINY)).write(tmp_path / "e.h5")
    with pytest.raises(InputError, match="made by another backbone, weights or preprocessing"):
        score(bundles.load(tmp_path / "bundle"), open_dataset(table, [tmp_path / "e.h5"]))


def test_what_it_refuses(saved, tmp_path):
    whole = checkpoint()
    for name, told in (
        ("blocks.1.mlp.fc2.lora.lora_B", r"missing: base_model\.model\.blocks\.1\.mlp\.fc2\.lora\.lora_B$"),
        ("pos_embed", r"missing: base_model\.model\.pos_embed$"),
    ):
        less = {key: value for key, value in whole["model"].items() if key != f"base_model.model.{name}"}
        torch.save({"model": less}, tmp_path / "less.pth")
        with pytest.raises(InputError, match=rf"less\.pth: do not fit this model; keys {told}"):
            bring(tmp_path / "less.pth")
    torch.save(checkpoint(width=32), tmp_path / "wide.pth")
    with pytest.raises(InputError, match=r"wide\.pth: .* of another shape: base_model\.fc\.weight"):
        bring(tmp_path / "wide.pth")
    with pytest.raises(InputError, match=r"--backbone tiny_clip: library open_clip; this head belongs to tiny"):
        get_importer("dda")(ImportRequest(weights=saved, backbone="tiny_clip"))
    with pytest.raises(InputError, match="--weights: name ckpt"):
        get_importer("dda")(ImportRequest())
    with pytest.raises(InputError, match=r"none\.pth: no such file"):
        bring(tmp_path / "none.pth")
