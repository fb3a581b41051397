"""The five-channel network end to end at 16 px: caches, checkpoints after kill -9, scores, and what it refuses."""

import hashlib
import os
import re
import shutil
import signal
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import timm
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from aigid.aligned.generator import VaeSettings, obtain_autoencoder
from aigid.cli import preset
from aigid.core import manifest
from aigid.core.errors import InputError
from aigid.core.params import load_section, validate
from aigid.degradations import views
from aigid.detectors import bundle
from aigid.detectors.aeroblade import ReconstructionScorer, random
from aigid.detectors.cnn import data, training
from aigid.detectors.cnn import detector as detector_module
from aigid.detectors.cnn.data import ChannelDataset
from aigid.detectors.cnn.detector import Cnn
from aigid.detectors.cnn.settings import CnnSettings
from aigid.detectors.protocol import score_views
from aigid.detectors.samples import Samples
from aigid.features.backbones import backbone_settings
from aigid.features.encoder import load_encoder
from aigid.features.registry import BACKBONES
from aigid.generators.autoencoder_kl import load, reconstruct, save
from aigid.training.loop import Trainer
from tests.helpers.tiny_models import VAE
from tests.helpers.together import assert_trained_alike, stop_after, together, train_in_child
from tests.helpers.workspace import run

SETTINGS = CnnSettings(
    dataset="d", size=16, model="test_efficientnet", stem_stride=1, epochs=2, batch_size=16, learning_rate=3e-3,
    optimizer="adamw", schedule="one_cycle", hflip=True,
)  # fmt: skip
ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """72 images of 16 px, noise whose stripes tell the generator; one test image is broken."""
    root, rng, rows = tmp_path_factory.mktemp("images"), np.random.default_rng(0), []
    for number in range(72):
        name, split = ("real", "a", "b")[number % 3], ("train", "train", "val", "test")[number // 3 % 4]
        image = rng.integers(60, 190, (16, 16, 3))
        image[::2] += 60 * (name == "a")
        image[:, ::2] += 60 * (name == "b")
        path = root / f"{number:02}.png"
        Image.fromarray(image.astype(np.uint8)).save(path)
        rows.append({"path": path.name, "label": int(name != "real"), "generator": name, "split": split})
    (root / "71.png").write_bytes(b"no image")
    table = pd.DataFrame(rows)
    table["sha256"] = [hashlib.sha256((root / path).read_bytes()).hexdigest() for path in table["path"]]
    return root, manifest.validate(table, "d")


@pytest.fixture(scope="module")
def vae(dataset, tmp_path_factory):
    root, table = dataset
    folder = tmp_path_factory.mktemp("models") / "vae"
    settings = VaeSettings(dataset="d", size=16, config=VAE, steps=4, batch_size=4)
    save(obtain_autoencoder(settings, table, root, 0), folder)
    return folder


def source(dataset, vae, **changes):
    return ChannelDataset(SETTINGS.model_copy(update=changes), vae, dataset[0], 0)


def fit(dataset, vae, **changes):
    samples = Samples(dataset[1], dataset[0])
    settings = SETTINGS.model_copy(update=changes)
    return Cnn.fit(settings, samples.subset("train"), samples.subset("val"), 0, vae=vae)


def test_the_vae_is_trained_on_training_photographs_alone_and_is_the_same_again(dataset, vae, tmp_path):
    root, table = dataset
    settings = VaeSettings(dataset="d", size=16, config=VAE, steps=4, batch_size=4)
    kept = table[(table["split"] == "train") & (table["label"] == 0)]
    save(obtain_autoencoder(settings, kept, root, 0), tmp_path / "vae")
    first, again = (load_file(folder / "diffusion_pytorch_model.safetensors") for folder in (vae, tmp_path / "vae"))
    assert all(torch.equal(first[name], again[name]) for name in first)
    with pytest.raises(InputError, match="no readable real image"):
        obtain_autoencoder(settings, table[table["label"] == 1], root, 0)


def test_latents_are_the_mode_or_a_seeded_sample(vae):
    net = load(vae)
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    np.testing.assert_allclose(reconstruct(net, images)[1], reconstruct(net, images[1:2])[0], atol=1e-5)
    drawn = reconstruct(net, images, [1, 2, 3])
    np.testing.assert_allclose(drawn[1], reconstruct(net, images[1:2], [2])[0], atol=1e-5)
    assert np.abs(drawn - reconstruct(net, images)).max() > 1e-4


def pictures_of(source, table, view):
    """The channels (n, C, S, S) of readable images, and the status of every image."""
    rows = enumerate(zip(table["path"], table["sha256"], strict=True))
    images = list(source.read([source.request(path, key, view, number) for number, (path, key) in rows], view))
    good = [image for image in images if image.status == "ok"]
    return source.channels(good, [view] * len(good)), [image.status for image in images]


def test_the_error_alone_is_computed_once_and_only_of_images_to_train_on(dataset, vae, monkeypatch, tmp_path):
    _, table = dataset
    y = np.zeros(len(table), np.int64)
    expected, status = pictures_of(source(dataset, vae), table, "jpeg65")
    assert [why != "ok" for why in status] == [False] * 71 + [True]
    assert not (tmp_path / "cache").exists()  # what is scored once leaves nothing behind
    first = source(dataset, vae).view(table, y, ["jpeg65"])
    np.testing.assert_array_equal(first.take(range(71)), expected)
    (entry,) = (tmp_path / "cache/channels").iterdir()
    assert [load_file(path)["rows"].shape for path in entry.glob("*.safetensors")] == [(71, 16, 16, 1)]
    monkeypatch.setattr(data.ChannelDataset, "_compute", None)
    again = source(dataset, vae).view(table[:71], y[:71], ["jpeg65"])
    np.testing.assert_array_equal(again.take([70, 0, 70]), expected[[70, 0, 70]])
    np.testing.assert_array_equal(pictures_of(source(dataset, vae), table, "jpeg65")[0], expected)
    alone = source(dataset, vae, channels=("rgb",)).view(table, y, ["jpeg65"])
    np.testing.assert_array_equal(alone.take(range(71)), expected[:, :3])


def test_the_cache_asks_for_room_before_anything_is_computed(dataset, vae, monkeypatch, tmp_path):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=12 * 16 * 16 - 1))
    monkeypatch.setattr(data.ChannelDataset, "_compute", None)
    with pytest.raises(InputError, match=r"cache/channels: 3\.1 kB are needed there, 3\.1 kB are free$"):
        source(dataset, vae).view(dataset[1][:6], np.zeros(6, np.int64), ["clean", "blur3"])
    assert not (tmp_path / "cache").exists()


def test_the_docs_gigabytes_are_those_of_the_preset(tmp_path):
    (tmp_path / "params.yaml").write_text(preset.text("defactify"))
    settings = load_section("cnn", CnnSettings, tmp_path / "params.yaml")
    counts = re.search(r"([\d,]+) / ([\d,]+) / [\d,]+ images in train, val", preset.text("defactify"))
    num = sum(int(count.replace(",", "")) for count in counts.groups())
    assert settings.views == ("clean",)
    size = f"{num * settings.size**2 / 1e9:.0f} GB for Defactify's {num:,} at {settings.size} px"
    assert size in (ROOT / "docs/methods/nycu.md").read_text()


def test_a_view_is_drawn_by_epoch_and_image(dataset, vae, tmp_path):
    table, views = dataset[1][:30], ("clean", "blur3", "jpeg65")
    drawn = source(dataset, vae).view(table, np.arange(30), views, sampled_epochs=4)
    seen = np.array([[drawn.request(number, epoch).view_specs[0].view for number in range(30)] for epoch in range(4)])
    assert len(drawn) == 30
    assert set(seen.ravel()) == set(views)
    assert all(len(set(row)) > 1 for row in seen)
    assert any(len(set(column)) > 1 for column in seen.T)
    turned = source(dataset, vae).view(table[::-1], np.arange(30)[::-1], views, sampled_epochs=4)
    assert [turned.request(29 - number, 2) for number in range(30)] == [drawn.request(k, 2) for k in range(30)]
    cells = {(view, number) for row in seen for number, view in enumerate(row)}
    shards = (tmp_path / "cache/channels").glob("*/*.safetensors")
    assert sum(len(load_file(path)["key"]) for path in shards) == len(cells) < 90  # what no epoch draws is not computed
    expected = {view: pictures_of(source(dataset, vae), table, view)[0] for view in views}
    np.testing.assert_array_equal(drawn.take(range(30), 1), [expected[view][k] for k, view in enumerate(seen[1])])
    every = source(dataset, vae).view(table, np.arange(30), views)
    assert every.y.tolist() == 3 * list(range(30))
    np.testing.assert_array_equal(every.take([31, 62]), [expected["blur3"][1], expected["jpeg65"][2]])


def test_a_kill_loses_at_most_a_shard(dataset, vae, monkeypatch):
    _, table = dataset
    monkeypatch.setattr(data, "SHARD_BYTES", 16 * 16 * 8)
    monkeypatch.setattr(data, "BATCH", 8)
    made, compute = [], ChannelDataset._compute

    def stop_at_40(self, keys, squares):
        made.extend(keys)
        if len(made) > 40:
            raise KeyboardInterrupt
        return compute(self, keys, squares)

    monkeypatch.setattr(data.ChannelDataset, "_compute", stop_at_40)
    with pytest.raises(KeyboardInterrupt):
        source(dataset, vae).view(table[:71], np.zeros(71, np.int64))
    made.clear()
    monkeypatch.setattr(data.ChannelDataset, "_compute", lambda *given: made.extend(given[1]) or compute(*given))
    source(dataset, vae).view(table[:71], np.zeros(71, np.int64))
    assert len(made) == 71 - 40


def test_side_channels_are_those_of_the_degraded_image_unless_published(dataset, vae):
    table = dataset[1][:6]
    clean, blurred = (pictures_of(source(dataset, vae), table, view)[0] for view in ("clean", "blur3"))
    shortcut = source(dataset, vae, compat=("clean_side_channels",))
    published, _ = pictures_of(shortcut, table, "blur3")
    np.testing.assert_array_equal(shortcut.view(table, np.zeros(6), ["blur3"]).take(range(6)), published)
    np.testing.assert_array_equal(published[:, :3], blurred[:, :3])
    np.testing.assert_array_equal(published[:, 3:], clean[:, 3:])
    assert (blurred[:, 4] != clean[:, 4]).any()
    assert (blurred[:, 3] != clean[:, 3]).any()


@pytest.fixture(scope="module")
def fitted(dataset, vae, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIGID_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield fit(dataset, vae, epochs=30)


def test_learns_each_generator(dataset, fitted):
    detector, log, samples = fitted, fitted.logs["epochs"], Samples(dataset[1], dataset[0])
    assert detector.classes == ["real", "a", "b"]
    assert list(log.columns) == list(training.LOG_COLUMNS)
    assert log["epoch"].tolist() == list(range(1, 31))
    assert log["train_loss"].iloc[-1] < log["train_loss"].iloc[0]
    scores = bundle.score(bundle.Bundle("cnn", detector, {}, detector.fingerprints(samples)), samples, ["clean"])
    good = scores[scores["score"].notna()]
    columns = ["class_real", "class_a", "class_b"]
    named = np.array(["real", "a", "b"])[good[columns].to_numpy().argmax(axis=1)]
    assert (named == good["generator"]).mean() > 0.8
    other = Cnn(detector.net, detector.settings.model_copy(update={"size": 32}), detector.classes, detector.vae)
    with pytest.raises(InputError, match="another VAE, size or settings"):
        bundle.score(bundle.Bundle("cnn", other, {}, detector.fingerprints(samples)), samples, ["clean"])


def test_the_network_can_tell_only_whether_an_image_is_generated(dataset, vae):
    detector = fit(dataset, vae, task="binary", epochs=1)
    assert detector.classes == ["real", "generated"]
    assert detector.score(Samples(dataset[1][:6], dataset[0]), ["clean"]).values["clean"].shape == (6, 2)
    lost = detector.score(
        Samples(dataset[1][:2].assign(path=["gone.png", dataset[1]["path"][1]]), dataset[0]), ["clean"]
    )
    assert (lost.status[0], lost.messages) == ("missing", {0: "No such file or directory"})


def test_each_split_is_read_for_what_it_is_for(dataset, vae, monkeypatch):
    """Weights come of the training split alone, the choice of the epoch of validation alone."""
    given = []
    monkeypatch.setattr("aigid.detectors.cnn.detector.train", lambda net, how, *views: given.extend(views[:2]) or [])
    fit(dataset, vae)
    table = dataset[1]
    for split, images in zip(("train", "val"), given, strict=True):
        assert images.keys == table.loc[table["split"] == split, "sha256"].tolist()


def _train(dataset, vae, folder, names=("clean",)):
    os.environ["AIGID_CACHE"] = str(folder / "cache")
    fitted = fit(dataset, vae, batch_size=8, views=names)
    fitted.save(folder)
    fitted.logs["epochs"].to_csv(folder / "log.csv")


def test_kill_9_in_an_epoch_ends_with_the_same_weights(dataset, vae, tmp_path):
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    for folder in (undisturbed, killed):
        folder.mkdir()
    assert train_in_child(_train, dataset, vae, undisturbed) == (0, 8)  # two epochs of 36 // 8 steps
    assert train_in_child(_train, dataset, vae, killed, kill_at=6) == (-signal.SIGKILL, 6)  # in the second epoch
    assert train_in_child(_train, dataset, vae, killed) == (0, 2)  # not one step is done twice
    for name in ("weights.safetensors", "log.csv"):
        assert (undisturbed / name).read_bytes() == (killed / name).read_bytes()
    assert not list((killed / "cache/training").iterdir())


def test_a_checkpoint_from_an_older_definition_of_a_view_is_refused(dataset, vae, tmp_path, monkeypatch):
    """As all of clean images stay what they are, it goes on with one of these."""
    monkeypatch.setattr("tests.unit.detectors.cnn.test_detector.SETTINGS", SETTINGS.model_copy(update={"epochs": 1}))
    for name in ("clean", "jpeg65"):
        (tmp_path / name).mkdir()
        given = dataset, vae, tmp_path / name, (name,)
        assert train_in_child(_train, *given, kill_at=1) == (-signal.SIGKILL, 1)
        with monkeypatch.context() as patch:
            patch.setattr(views, "CACHE_VERSION", views.CACHE_VERSION + 1)
            if name == "clean":
                assert train_in_child(_train, *given) == (0, 3)
                continue
            with pytest.raises(InputError, match=r"cnn_.*\.pt: from training under an older definition of jpeg65"):
                _train(*given)


def test_a_network_without_batch_norms_is_cut_as_the_machine_says(tmp_path, monkeypatch):
    """Whatever fits at once, the step is that of 16 images; batch norms see as many at once as the settings say."""
    rng = np.random.default_rng(0)
    data = Pictures(rng.integers(0, 256, (16, 3, 16, 16), dtype=np.uint8), np.arange(16) % 2)
    how = SETTINGS.model_copy(update={"channels": ("rgb",), "batch_size": 16})
    weights = []
    for size in (16, 5):
        monkeypatch.setenv("AIGID_BATCH", str(size))
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.GELU(), nn.Flatten(), nn.Linear(64, 2))
        plan = training.plan(how, net, len(data.y), 0)
        with closing(Trainer(plan, training.training_task(net, how, plan, data, data), tmp_path / "none.pt")) as run:
            assert run.passes.size == size
            run.step(*next(run.steps()))
        weights.append(torch.cat([value.flatten() for value in net.parameters()]).detach())
    torch.testing.assert_close(*weights, atol=1e-5, rtol=0)
    with_norms = training.build_model(how, 2)
    assert training.plan(how, with_norms, 16, 0).group_size == 16
    assert training.plan(how.model_copy(update={"norm_batch_size": 4}), with_norms, 16, 0).group_size == 4


class Pictures(NamedTuple):
    """Channels (N, C, S, S) that are there already."""

    pictures: np.ndarray
    y: np.ndarray

    def take(self, numbers, epoch=0):
        return self.pictures[numbers]


def test_features_are_what_the_last_layer_gets(dataset, fitted):
    samples = Samples(dataset[1], dataset[0])
    samples = samples.subset("val")
    last = fitted.net.get_classifier()
    features = torch.from_numpy(fitted.features(samples, "clean"))
    assert features.shape == (len(samples.table), last.in_features)
    scores = fitted.score(samples, ["clean"]).values["clean"]
    np.testing.assert_allclose(last(features).softmax(dim=1).detach().numpy(), scores, atol=1e-4)


def _fit(rank, dataset, vae, changes, folder, stop=1 << 30):
    """Train, but for ``stop`` steps at most, each of them saved.

    With twice the digits: in float32 Adam makes steps of the sign of gradients that are rounding errors.
    """
    os.environ["AIGID_CACHE"] = str(folder / "cache")
    single, build = training.to_float, training.build_model
    training.to_float = lambda *given: single(*given).double()
    detector_module.build_model = lambda *given: build(*given).double()
    stop_after(stop)
    with suppress(KeyboardInterrupt):
        detector = fit(dataset, vae, epochs=3, **changes)
        log = detector.logs["epochs"].to_dict("list")
        torch.save({"net": detector.net.state_dict(), "log": log}, folder / f"{rank}.pt")


def _num_made(cache):
    """Pictures that were computed, twice or not."""
    return sum(len(load_file(path)["key"]) for path in cache.glob("channels/*/*.safetensors"))


@pytest.mark.parametrize("size", [3, 16])
def test_what_batch_norms_see_divides_the_batch(size):
    said = rf"^cnn\.norm_batch_size: .*does not divide batch_size=8, got {size}$"
    with pytest.raises(InputError, match=said):
        validate({"dataset": "d", "batch_size": 8, "norm_batch_size": size}, CnnSettings, "cnn")


CHANGES = {
    "plain": {}, "norms of half a batch": {"norm_batch_size": 8}, "frozen": {"compat": ("frozen_after_first_epoch",)},
}  # fmt: skip


@pytest.fixture(scope="module")
def alone(dataset, vae, tmp_path_factory):
    """The folder of what one process learns, by the change of the settings."""

    @cache
    def train(change):
        folder = tmp_path_factory.mktemp("alone")
        together(1, _fit, dataset, vae, CHANGES[change], folder)
        return folder

    return train


def learned(folder, rank=0):
    return torch.load(folder / f"{rank}.pt", weights_only=True)


@pytest.mark.parametrize("change", CHANGES)
def test_two_processes_train_as_one_with_the_same_batch(change, alone, dataset, vae, tmp_path):
    """Batch statistics and mirroring, too, are those of the whole batch; channels are computed once."""
    together(2, _fit, dataset, vae, CHANGES[change], tmp_path)
    assert_trained_alike(learned(tmp_path), learned(alone(change)))
    torch.testing.assert_close(learned(tmp_path, 1)["net"], learned(tmp_path)["net"], atol=0, rtol=0)
    assert not list((tmp_path / "cache/training").iterdir())
    assert _num_made(tmp_path / "cache") == _num_made(alone(change) / "cache") == 36 + 18


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_checkpoint_goes_on_in_another_number_of_processes(before, after, alone, dataset, vae, tmp_path):
    together(before, _fit, dataset, vae, {}, tmp_path, 3)  # of 6 steps, in the second epoch
    assert len(list((tmp_path / "cache/training").iterdir())) == 1
    together(after, _fit, dataset, vae, {}, tmp_path, 3)
    assert_trained_alike(learned(tmp_path), learned(alone("plain")))


@pytest.mark.slow
@pytest.mark.parametrize("start", [["torchrun", "--standalone", "--nproc-per-node=2"], ["python"]], ids="".join)
def test_two_processes_run_the_stage_and_one_writes(start, dataset, vae, tmp_path):
    """By torchrun, or by AIGID_PROCESSES."""
    root, table = dataset
    manifest.write(table, tmp_path / "m.csv")
    cnn = SETTINGS.model_copy(update={"epochs": 3}).model_dump(mode="json")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"cnn": cnn, "seed": 0, "demo": {}}))
    what = f"--detector cnn --dataset {root.name} --manifest m.csv --component vae={vae} --out model --log log".split()
    variables = {"AIGID_CACHE": str(tmp_path / "cache"), "AIGID_DATA": str(root.parent), "AIGID_DEVICE": "cpu"}
    variables |= {"AIGID_PROCESSES": "2"} if start == ["python"] else {}
    command = (*start, "-m", *(["--"] if start[1:] else []), "stages.train")
    told = run(*command, *what, cwd=tmp_path, PYTHONPATH=str(ROOT), **variables)
    assert told == ""
    expected = fit(dataset, vae, epochs=3).logs["epochs"]
    log = pd.read_csv(tmp_path / "log/epochs.csv")
    np.testing.assert_allclose(log["train_loss"], expected["train_loss"], atol=1e-3)
    assert bundle.load(tmp_path / "model").detector.classes == ["real", "a", "b"]
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "log", "m.csv", "model", "params.yaml"}
    assert not list((tmp_path / "cache/training").iterdir())


@pytest.mark.parametrize("num_items", [1, 16, 64])
def test_one_cycle_rises_and_falls_however_few_its_steps(num_items):
    how = SETTINGS.model_copy(update={"epochs": 1})
    net = torch.nn.Linear(1, 1)
    plan = training.plan(how, net, num_items, 0)
    schedule = training._schedule(torch.optim.AdamW(net.parameters(), lr=how.learning_rate), how, plan)
    rates = [how.learning_rate / 25]
    for _ in range(plan.num_steps):
        schedule.optimizer.step()
        schedule.step()
        rates.append(schedule.get_last_lr()[0])
    assert rates[-1] < rates[0] < how.learning_rate
    assert max(rates) <= how.learning_rate
    assert all(np.isfinite(rates))


def test_an_image_and_its_mirror_image_can_be_judged_as_one():
    rng, classes = np.random.default_rng(0), ["real", "a"]
    there = rng.integers(0, 256, (5, 3, 16, 16), dtype=np.uint8)
    samples = [there, there[..., ::-1]]
    alone = SETTINGS.model_copy(update={"channels": ("rgb",)})
    torch.manual_seed(0)
    net = training.build_model(alone, 2)
    apart = [Cnn(net, alone, classes, Path()).probabilities(images) for images in samples]
    together = Cnn(net, alone.model_copy(update={"hflip_tta": True}), classes, Path())
    for images in samples:
        np.testing.assert_allclose(together.probabilities(images), np.mean(apart, axis=0), atol=1e-6)
    assert np.abs(apart[0] - apart[1]).max() > 1e-3


def test_a_checkpoint_with_a_missing_weight_is_refused_by_its_name(vae, tmp_path, monkeypatch):
    """The weight was filled in at random once, and every score with it.

    ``from_pretrained`` of a repository is given its folder here, as no hub answers in tests.
    """
    monkeypatch.setattr("aigid.features.checkpoints._hub_is_reachable", lambda: True)
    folder = tmp_path / "vae"
    shutil.copytree(vae, folder)
    file = folder / "diffusion_pytorch_model.safetensors"
    state = load_file(file)
    del state["encoder.conv_in.bias"]
    save_file(state, file, {"format": "pt"})
    table = pd.DataFrame({"path": [], "sha256": []})
    for loader in (
        lambda: ChannelDataset(SETTINGS, folder, tmp_path, 0).vae,
        lambda: ReconstructionScorer(random(8, 0), 16, [folder], 0),
        lambda: obtain_autoencoder(VaeSettings(dataset="d", weights=str(folder)), table, tmp_path, 0),
        lambda: obtain_autoencoder(VaeSettings(dataset="d", repository=str(tmp_path)), table, tmp_path, 0),
    ):
        with pytest.raises(InputError, match=r"keys missing: encoder\.conv_in\.bias$") as caught:
            loader()
        assert "\n" not in str(caught.value)


def test_the_shortcut_changes_degraded_images_alone(dataset, fitted):
    with_it = fitted.settings.with_shortcut(True)
    assert with_it.compat == ("clean_side_channels",)
    assert with_it.with_shortcut(False) == fitted.settings
    samples = Samples(dataset[1][:71], dataset[0])
    published = Cnn(fitted.net, with_it, fitted.classes, fitted.vae)
    scores = [score_views(detector, samples, ["clean", "blur3"])["score"] for detector in (fitted, published)]
    same = scores[0] == scores[1]
    half = len(same) // 2
    assert same[:half].all()
    assert not same[half:].any()


def test_an_image_smaller_than_a_crop_leaves_a_pixel(vae, tmp_path):
    Image.fromarray(np.full((1, 2, 3), 90, np.uint8)).save(tmp_path / "0.png")
    key = hashlib.sha256((tmp_path / "0.png").read_bytes()).hexdigest()
    table = pd.DataFrame({"path": ["0.png"], "sha256": [key]})
    found, status = pictures_of(ChannelDataset(SETTINGS, vae, tmp_path, 0), table, "crop60")
    assert status == ["ok"]
    assert (found[0, :3] == 90).all()


def test_the_stem(dataset):
    net = training.build_model(SETTINGS, 3)
    assert net.conv_stem.weight.shape[1] == 5
    assert net.conv_stem.stride == (1, 1)
    with pytest.raises(InputError, match=r"cnn\.model='nonet'"):
        training.build_model(SETTINGS.model_copy(update={"model": "nonet"}), 3)
    with pytest.raises(InputError, match="is no single convolution"):
        training.build_model(SETTINGS.model_copy(update={"model": "mobileone_s0"}), 3)


def test_a_backbone_gives_its_weights_and_its_first_filters_serve_all_channels(monkeypatch):
    section = {"library": "timm", "model": "test_efficientnet", "config": {}, "seed": 3, "preprocess": {"size": 16}}
    monkeypatch.setitem(BACKBONES, "small", section)
    settings = SETTINGS.model_copy(update={"pretrained": "small", "stem": "adapted"})
    encoder, net = load_encoder(backbone_settings("small")), training.build_model(settings, 3)
    stem, expected = net.conv_stem.weight, encoder.conv_stem.weight
    torch.testing.assert_close(stem, expected[:, [0, 1, 2, 0, 1]] * 3 / 5)
    assert net.conv_stem.stride == (1, 1)
    others = [name for name, _ in encoder.named_parameters() if not name.startswith("conv_stem")]
    assert len(others) > 20
    assert all(torch.equal(net.get_parameter(name), encoder.get_parameter(name)) for name in others)
    fresh = training.build_model(settings.model_copy(update={"stem": "random"}), 3)
    assert torch.equal(fresh.get_parameter(others[0]), net.get_parameter(others[0]))
    assert not torch.allclose(fresh.conv_stem.weight, stem)
    random = training.build_model(settings.model_copy(update={"pretrained": False}), 3)
    assert {key: value.shape for key, value in random.state_dict().items()} == {
        key: value.shape for key, value in net.state_dict().items()
    }
    (backbone,) = Cnn(net, settings, ["real", "a", "b"], Path("vae")).backbones(None)
    assert backbone["model"] == "test_efficientnet"
    with pytest.raises(InputError, match="want a backbone that is timm's test_resnet"):
        training.build_model(settings.model_copy(update={"model": "test_resnet"}), 3)


def test_a_stem_that_pads_as_tensorflow_keeps_padding_so():
    settings = SETTINGS.model_copy(update={"model": "tf_efficientnet_lite0", "stem": "adapted", "channels": ("rgb",)})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = training.build_model(settings.model_copy(update={"stem_stride": 2}), 3).eval()
        torch.manual_seed(0)
        expected = timm.create_model("tf_efficientnet_lite0", num_classes=3).eval()
    pixels = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(net(pixels), expected(pixels), atol=1e-5, rtol=1e-4)


def test_what_it_refuses(dataset, vae, tmp_path):
    root, table = dataset
    with pytest.raises(InputError, match=r"cnn\.size=17: the VAE shrinks by 2"):
        source(dataset, vae, size=17).view(table[:2], np.zeros(2, np.int64))
    lacking = table[(table["split"] != "val") | (table["generator"] != "b")]
    with pytest.raises(InputError, match="split val: no image of class 'b', which train has"):
        fit((root, lacking), vae)
    lacking = table[(table["split"] != "train") | (table["generator"] != "b")]
    with pytest.raises(InputError, match="split val: generator 'b' is not in train"):
        fit((root, lacking), vae)
    with pytest.raises(InputError, match=r"holds no config\.json, want an autoencoder's folder"):
        load(tmp_path)
    with pytest.raises(InputError, match=r"cnn\.channels\.0: .*'phase'"):
        validate({"dataset": "d", "channels": ["phase"]}, CnnSettings, "cnn")
