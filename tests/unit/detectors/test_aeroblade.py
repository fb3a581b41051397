"""AEROBLADE on tiny parts: LPIPS against its formula in NumPy, and the autoencoder's own images come back closer."""

import hashlib
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import AutoencoderKL, VQModel
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from aigid.core.errors import InputError
from aigid.core.params import validate
from aigid.detectors import aeroblade
from aigid.detectors.aeroblade import (
    SCALE,
    SHIFT,
    Aeroblade,
    AerobladeSettings,
    Lpips,
    ReconstructionScorer,
    from_pretrained,
    random,
    similarity,
)
from aigid.detectors.samples import Samples
from aigid.generators.autoencoder_kl import load, load_any, reconstruct
from aigid.training import prior
from tests.helpers.tiny_models import VAE


class Rounded(nn.Module):
    """Stands for a VAE: gives back the image with its pixels rounded to multiples of ``step``."""

    device = torch.device("cpu")
    config = SimpleNamespace(block_out_channels=(4, 4))

    def __init__(self, step):
        super().__init__()
        self.step = step

    def encode(self, x):
        latent = ((x + 1) * 127.5 / self.step).round()
        return type("Posterior", (), {"latent_dist": type("Normal", (), {"mode": lambda self: latent})()})()

    def decode(self, z):
        return type("Image", (), {"sample": z * self.step / 127.5 - 1})()


@pytest.fixture
def distance():
    torch.manual_seed(0)
    return Lpips(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), torch.rand(4))


def test_equals_the_formula(distance):
    rng = np.random.default_rng(0)
    a, b = (torch.from_numpy(rng.uniform(-1, 1, (2, 3, 6, 6)).astype(np.float32)) for _ in range(2))
    found = distance(a, b).numpy()
    maps = []
    for image in (a, b):
        x = (image.numpy() - np.array(SHIFT).reshape(1, 3, 1, 1)) / np.array(SCALE).reshape(1, 3, 1, 1)
        maps.append(distance.features(torch.from_numpy(x.astype(np.float32))).numpy())
    for number in range(2):
        total = 0.0
        for y in range(4):
            for x in range(4):
                u, v = (part[number, :, y, x] for part in maps)
                u, v = u / (np.sqrt((u**2).sum()) + 1e-10), v / (np.sqrt((v**2).sum()) + 1e-10)
                total += (distance.weights.numpy().ravel() * (u - v) ** 2).sum()
        assert found[number] == pytest.approx(total / 16, rel=1e-4)


def test_an_autoencoders_own_images_come_back(distance):
    rng = np.random.default_rng(0)
    reals = rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    coarse, fine = (reals // 40 * 40, reals // 24 * 24)
    vaes = [Rounded(40), Rounded(24)]
    images = np.concatenate([reals, coarse, fine])
    found = similarity(images, vaes, distance)
    np.testing.assert_allclose(found[6:], 0, atol=1e-6)  # the largest over both: each is told by its own
    assert found[:6].max() < -1e-5
    alone = similarity(images, vaes[:1], distance)
    assert alone[12:].max() < 0
    p = Aeroblade.calibrate(found, np.array([0] * 6 + [1] * 12), distance, 8).p_generated(found)
    assert p[6:].min() > p[:6].max()


def test_a_distance_that_tells_nothing_gives_one_score_and_says_so(distance):
    """Fakes that are further from their reconstruction than photographs are no evidence, and are not turned around."""
    further = np.linspace(-0.1, -0.5, 24)
    labels = np.repeat([0, 1], 12)
    lost, found = (Aeroblade.calibrate(closeness, labels, distance, 8) for closeness in (further, further[::-1]))
    assert len(set(lost.p_generated(further))) == 1
    assert not prior.has_learned(lost.logs["calibration"])
    assert prior.has_learned(found.logs["calibration"])


def test_published_weights_are_read_from_files_of_their_form(tmp_path):
    torch.manual_seed(0)
    vgg, linear = make_layers(cfgs["D"]), torch.rand(1, 128, 1, 1)
    torch.save({f"features.{name}": value for name, value in vgg.state_dict().items()}, tmp_path / "vgg16.pth")
    torch.save({"lin1.model.1.weight": linear}, tmp_path / "vgg.pth")
    found, x = from_pretrained(tmp_path / "vgg16.pth", tmp_path / "vgg.pth"), torch.rand(1, 3, 16, 16)
    assert torch.equal(found.features(x), vgg[:9](x))
    assert torch.equal(found.weights, linear)


def test_missing_weights_are_one_line(tmp_path):
    with pytest.raises(InputError, match="not VGG-16 and LPIPS's linear layers"):
        from_pretrained(tmp_path / "vgg16.pth", tmp_path / "vgg.pth")


@pytest.fixture
def images(tmp_path):
    """Four images of 8 px; the last one is broken, the third a copy of the second."""
    rng, rows = np.random.default_rng(0), []
    for number in range(4):
        path = tmp_path / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
        if number >= 2:
            path.write_bytes(b"no image" if number == 3 else (tmp_path / "1.png").read_bytes())
        rows.append({"path": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
    return tmp_path, pd.DataFrame(rows)


def test_every_image_is_measured_once_in_a_view(images, monkeypatch):
    root, table = images
    made, whole = [], similarity
    monkeypatch.setattr(aeroblade, "load_any", lambda folder: Rounded(int(folder.name)))
    monkeypatch.setattr(aeroblade, "similarity", lambda x, *rest: made.append(len(x)) or whole(x, *rest))
    it = ReconstructionScorer(random(8, 0), 8, [root / "40", root / "24"], 0)
    found, status = it.closeness(Samples(table, root), "clean")
    assert status.tolist()[:3] == ["ok"] * 3
    assert status[3] != "ok"
    assert np.isnan(found[3])
    assert found[1] == found[2]
    pixels = np.stack([np.asarray(Image.open(root / path)) for path in table["path"][:2]])
    np.testing.assert_allclose(found[:2], whole(pixels, [Rounded(40), Rounded(24)], random(8, 0)), rtol=1e-5)
    again, _ = it.closeness(Samples(table[::-1], root), "clean")
    np.testing.assert_array_equal(again, found[::-1])
    assert made == [2]
    assert (it.closeness(Samples(table[:2], root), "jpeg65")[0] != found[:2]).all()


def test_what_it_refuses(images, monkeypatch):
    monkeypatch.setattr(aeroblade, "load_any", lambda folder: Rounded(24))
    with pytest.raises(InputError, match=r"aeroblade\.size=9: the VAE shrinks by 2, which does not divide it"):
        ReconstructionScorer(random(8, 0), 9, [images[0]], 0)
    with pytest.raises(InputError, match="vgg and linear belong together"):
        validate({"dataset": "d", "vgg": "vgg16.pth"}, AerobladeSettings, "aeroblade")
    with pytest.raises(InputError, match="split val: reals and generated images are both needed"):
        Aeroblade.calibrate(np.array([-0.1, np.nan]), np.array([0, 1]), random(8, 0), 8)


def test_random_features_have_the_published_shape():
    distance = random(8, 0)
    assert distance.features(torch.zeros(1, 3, 16, 16)).shape == (1, 16, 8, 8)
    a = torch.rand(2, 3, 16, 16)
    assert float(distance(a, a).max()) == 0
    assert torch.equal(random(8, 0)(a, -a), distance(a, -a))


VQ = {  # Kandinsky's, but for its size
    "block_out_channels": (32, 32), "down_block_types": ("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
    "up_block_types": ("AttnUpDecoderBlock2D", "UpDecoderBlock2D"), "latent_channels": 4, "vq_embed_dim": 4,
    "num_vq_embeddings": 16, "norm_type": "spatial",
}  # fmt: skip


@pytest.fixture
def pipelines(tmp_path):
    """The folders of a pipeline of Stable Diffusion's form and one of Kandinsky's."""
    torch.manual_seed(0)
    AutoencoderKL(**VAE).save_pretrained(tmp_path / "sd/vae")
    VQModel(**VQ).save_pretrained(tmp_path / "kandinsky/movq")
    return tmp_path / "sd", tmp_path / "kandinsky"


def labelled(images):
    root, table = images
    rows = table[:2].assign(label=[0, 1], generator=["real", "a"], split="val", view="clean")
    return Samples(rows, root)


def test_the_best_of_an_autoencoder_and_a_vq_model(pipelines, images, tmp_path):
    """A VQModel's latent is decoded unquantized; both come back from the bundle."""
    sd, kandinsky = pipelines
    settings = AerobladeSettings(dataset="d", size=8, vq_models=(str(kandinsky),))
    val = labelled(images)
    both = Aeroblade.fit(settings, val, val, 0, vae=sd)
    pixels = np.stack([np.asarray(Image.open(val.root / path)) for path in val.table["path"]])
    vq = VQModel.from_pretrained(kandinsky / "movq").eval()
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        h = vq.quant_conv(vq.encoder(x))
        copies = [vq.decoder(vq.post_quant_conv(h), h).permute(0, 2, 3, 1).numpy(), reconstruct(load(sd), pixels)]
        closeness = [-both.distance(x, torch.from_numpy(copy).permute(0, 3, 1, 2)).numpy() for copy in copies]
    np.testing.assert_allclose(reconstruct(load_any(kandinsky / "movq"), pixels), copies[0], atol=1e-5)
    found, _ = both._scorer.closeness(val, "clean")
    np.testing.assert_allclose(found, np.max(closeness, axis=0), rtol=1e-4)
    (tmp_path / "bundle").mkdir()
    again = Aeroblade.load(tmp_path / "bundle", both.save(tmp_path / "bundle"))
    np.testing.assert_array_equal(
        again.score(val, ["clean"]).values["clean"], both.score(val, ["clean"]).values["clean"]
    )


def test_the_posteriors_mode_or_a_sample_of_it(pipelines, images, tmp_path):
    val, values = labelled(images), {}
    for latent in ("mode", "sample"):
        settings = AerobladeSettings(dataset="d", size=8, latent=latent)
        detector = Aeroblade.fit(settings, val, val, 0, vae=pipelines[0])
        values[latent] = detector._scorer.closeness(val, "clean")[0]
        (tmp_path / latent).mkdir()
        again = Aeroblade.load(tmp_path / latent, detector.save(tmp_path / latent))
        np.testing.assert_array_equal(again.score(val, ["clean"]).values["clean"], detector.p_generated(values[latent]))
        scores = detector.score(Samples(images[1], images[0]), ["clean"])
        assert (scores.status[3], scores.messages) == ("not_an_image", {3: "starts with b'no image'"})
    assert (values["mode"] != values["sample"]).all()


def test_a_vq_folder_given_as_an_autoencoder_and_the_reverse(pipelines, images, tmp_path):
    sd, kandinsky = pipelines
    val = labelled(images)

    def refusal(vae, **changes):
        with pytest.raises(InputError) as caught:
            Aeroblade.fit(AerobladeSettings(dataset="d", size=8, **changes), val, val, 0, vae=vae)
        return str(caught.value)

    movq = str(kandinsky / "movq")
    assert refusal(sd, autoencoders=(movq,)) == f"weights {movq}: a VQModel, want an AutoencoderKL"
    assert refusal(sd, vq_models=(str(sd / "vae"),)) == f"weights {sd / 'vae'}: a AutoencoderKL, want a VQModel"
    assert refusal(sd, vq_models=(str(tmp_path),)) == (
        f"weights {tmp_path}: holds no config.json, want an autoencoder's folder as diffusers writes it"
    )
    with pytest.raises(InputError, match="a VQModel, want an AutoencoderKL"):
        load(movq)
    state = load_file(kandinsky / "movq/diffusion_pytorch_model.safetensors")
    del state["quantize.embedding.weight"]
    save_file(state, kandinsky / "movq/diffusion_pytorch_model.safetensors", {"format": "pt"})
    assert "keys missing: quantize.embedding.weight" in refusal(sd, vq_models=(movq,))
