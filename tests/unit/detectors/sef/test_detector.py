"""SEF end to end on small pairs: experts, kill -9, the gate from cache and images, the comparison, a bundle."""

import hashlib
import io
import json
import multiprocessing
import os
import signal
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from PIL import Image, ImageFilter
from torch import nn

import aigid
from aigid.core import manifest
from aigid.core.errors import InputError
from aigid.degradations import policies
from aigid.detectors import bundle as bundles
from aigid.detectors.samples import LabeledEmbeddings, join, open_dataset
from aigid.detectors.sef import data, model, training
from aigid.detectors.sef.data import open_pairs
from aigid.detectors.sef.detector import Sef
from aigid.detectors.sef.settings import ExpertSettings, SefSettings
from aigid.experiments import sef
from aigid.features.encoder import normalize
from aigid.features.extract import extract
from aigid.features.preprocess import Preprocess
from benchmarks import sef_gradients
from stages.train import main as train
from tests.helpers.together import assert_trained_alike, stop_after, together, train_in_child
from tests.helpers.workspace import ROOT

EXPERT = ExpertSettings(
    backbone="tiny_vit", batch_size=4, contrastive_batch_size=4, epochs=6, learning_rate=3e-3, t_max=36,
    lora={"rank": 4, "alpha": 8}, sampling={"scales": [], "quality": 0, "pixel_mix": 0, "dct_mix": 0},
)  # fmt: skip
SHORT = EXPERT.model_copy(update={"epochs": 2})
SETTINGS = SefSettings(expert=EXPERT, fusion={"hidden": 16, "epochs": 30, "learning_rate": 3e-3, "batch_size": 16})
IMAGE = np.zeros((32, 32, 3), np.uint8)
NUM = {"train": 24, "val": 6, "test": 12}


def made(domain, image):
    """One domain blurs, the other leaves a grid."""
    if domain == "vae":
        return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(2)))
    grid = 14 * (np.indices(image.shape[:2]).sum(axis=0) % 2)[..., None]
    return np.clip(image.astype(int) + grid - 7, 0, 255).astype(np.uint8)


def write(root, domain, edit=lambda record: record):
    rng, records, rows = np.random.default_rng(0), [], []
    for split, num in NUM.items():
        for number in range(num):
            image = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
            image = np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC))
            image = np.clip(image + rng.normal(0, 25, image.shape), 0, 255).astype(np.uint8)
            paths = {kind: f"{split}/{kind}/{number:02}.png" for kind in ("real", "fake")}
            for (kind, path), pixels in zip(paths.items(), (image, made(domain, image)), strict=True):
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(root / path)
                digest = hashlib.sha256((root / path).read_bytes()).hexdigest()
                name = "real" if kind == "real" else domain
                rows.append({"path": path, "label": int(kind == "fake"), "generator": name, "split": split,
                             "group": f"{split} {number // 2}", "sha256": digest})  # fmt: skip
            records.append(edit(paths | {"width": 32, "height": 32}))
    (root / "aligned.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    manifest.write(pd.DataFrame(rows).sort_values("path"), root / "manifest.csv")
    return open_pairs(root)


@pytest.fixture(scope="module")
def domains(tmp_path_factory):
    root = tmp_path_factory.mktemp("aligned")
    return {name: write(root / name, name) for name in ("vae", "gan")}


@pytest.fixture(scope="module")
def trained(domains, tmp_path_factory):
    """The three experts' files, their logs and the cache that they share."""
    folder = tmp_path_factory.mktemp("experts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIGID_CACHE", str(folder / "cache"))
        patch.setenv("AIGID_DEVICE", "cpu")
        paths, logs = {}, {}
        for name, taken in {"vae": ("vae",), "gan": ("gan",), "both": ("vae", "gan")}.items():
            one, logs[name], checkpoint = training.fit(
                EXPERT, {domain: domains[domain] for domain in taken}, 0, torch.device("cpu")
            )
            paths[name] = folder / f"{name}.safetensors"
            model.save(one, EXPERT, paths[name])
            checkpoint.unlink()
        yield paths, logs


def embedded(domains, paths, folder, names=("vae", "gan")):
    found = {}
    for name, pairs in domains.items():
        table = manifest.read(pairs.root / "manifest.csv")
        files = [paths[it] for it in names]
        encoder = training.backbone(EXPERT, files)
        extract(table, pairs.root, encoder, ["clean", "blur3"], 0).write(folder / f"{name}.h5")
        found[name] = open_dataset(table, [folder / f"{name}.h5"])
    return found


@pytest.fixture(scope="module")
def features(domains, trained, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("features")
        patch.setenv("AIGID_CACHE", str(folder / "cache"))
        patch.setenv("AIGID_DEVICE", "cpu")
        return embedded(domains, trained[0], folder)


def bundle(sef, features):
    return bundles.Bundle("sef", sef, SETTINGS.model_dump(mode="json"), features["vae"].fingerprints)


def test_a_heads_bias_starts_at_zero_or_as_torch_has_it():
    """Uniform within 1 / sqrt(inputs), from the seed; all else starts alike."""
    zero, first, again, other = (
        model.build(EXPERT.model_copy(update={"head_bias": kind}), seed).head
        for kind, seed in (("zero", 0), ("uniform", 0), ("uniform", 0), ("uniform", 1))
    )
    assert zero.bias.item() == 0
    assert not zero.bias.signbit()
    assert torch.equal(zero.weight, first.weight)
    assert 0 < first.bias.abs() < first.in_features**-0.5
    assert first.bias == again.bias != other.bias
    biases = [model.build(EXPERT.model_copy(update={"head_bias": "uniform"}), n).head.bias.item() for n in range(20)]
    assert min(biases) < -0.3 * first.in_features**-0.5
    assert max(biases) > 0.3 * first.in_features**-0.5


def test_an_expert_learns_its_domain(trained):
    _, logs = trained
    assert set(logs["both"][0]) >= {"train_cross_entropy", "train_contrastive", "val_auroc_vae", "val_auroc_gan"}
    for name in ("vae", "gan"):
        assert logs[name][-1]["train_cross_entropy"] < logs[name][0]["train_cross_entropy"]
        assert logs[name][-1][f"val_auroc_{name}"] > 0.9


def test_naive_mixing_has_the_same_budget_and_sees_every_pair_of_both(domains, monkeypatch):
    lessons = training.PairBatches([it.split("train") for it in domains.values()], EXPERT, 32, 0)
    assert training.plan(EXPERT, len(lessons), 0).num_steps == NUM["train"] // EXPERT.batch_size
    seen = []
    monkeypatch.setattr(data.Pairs, "read", lambda it, place: seen.append((it.root, place)) or (IMAGE, IMAGE))
    for epoch in range(2):
        images, y = lessons.take(epoch, np.arange(len(lessons)))
        assert len(images) == len(y) == 2 * len(lessons)
        of_first = sum(root == domains["vae"].root for root, _ in seen[epoch * len(lessons) :])
        assert of_first == len(lessons) // 2
    assert len(set(seen)) == 2 * len(lessons)
    uneven = [domains["vae"].split("train"), domains["gan"].split("val")]
    with pytest.raises(InputError, match=r"24 pairs, .*: 6 pairs; want as many of each"):
        training.PairBatches(uneven, EXPERT, 32, 0)


def _train(domains, folder):
    os.environ["AIGID_CACHE"] = str(folder)
    one, log, checkpoint = training.fit(SHORT, domains, 0, torch.device("cpu"))
    model.save(one, EXPERT, folder / "expert.safetensors")
    checkpoint.unlink()
    (folder / "log.json").write_text(json.dumps(log))


def test_kill_9_in_training_ends_with_the_same_expert(domains, tmp_path):
    chosen, undisturbed, killed = {"gan": domains["gan"]}, tmp_path / "undisturbed", tmp_path / "killed"
    for folder in (undisturbed, killed):
        folder.mkdir()
    assert train_in_child(_train, chosen, undisturbed) == (0, 12)
    assert train_in_child(_train, chosen, killed, kill_at=9) == (-signal.SIGKILL, 9)  # in the second epoch
    assert train_in_child(_train, chosen, killed) == (0, 3)
    for name in ("log.json", "expert.safetensors"):
        assert (undisturbed / name).read_bytes() == (killed / name).read_bytes()


def test_a_checkpoint_from_an_older_definition_of_the_policy_is_refused(domains, tmp_path, monkeypatch):
    assert train_in_child(_train, {"gan": domains["gan"]}, tmp_path, kill_at=2) == (-signal.SIGKILL, 2)
    monkeypatch.setattr(policies, "POLICIES", policies.POLICIES | {"dda": policies.POLICIES["ufd"]})
    policies.get_policy.cache_clear()
    monkeypatch.setenv("AIGID_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"sef-gan_.*\.pt: from training under an older definition of dda; remove it"):
        training.fit(SHORT, {"gan": domains["gan"]}, 0, torch.device("cpu"))
    policies.get_policy.cache_clear()


def _fit(rank, settings, domains, folder, stop=1 << 30):
    """Train with twice the digits, but for ``stop`` steps at most, each of them saved."""
    os.environ["AIGID_CACHE"] = str(folder)
    training.build = lambda *given: model.build(*given).double()
    training.normalize = lambda *given: normalize(*given).double()
    stop_after(stop)
    with suppress(KeyboardInterrupt):
        expert, log, _ = training.fit(settings, domains, 0, torch.device("cpu"))
        torch.save({"net": expert.state_dict(), "log": log}, folder / f"{rank}.pt")


@pytest.fixture(scope="module")
def alone(domains, tmp_path_factory):
    """What one process learns with the steps as one pass, by how many pairs the contrastive loss sees."""
    model.build(SHORT, 0)  # imports here what each forked process would import anew

    @cache
    def fit(compared):
        settings = SHORT.model_copy(update={"contrastive_batch_size": compared})
        folder = tmp_path_factory.mktemp("alone")
        together(1, _fit, settings, {"gan": domains["gan"]}, folder)
        return settings, torch.load(folder / "0.pt", weights_only=True)

    return fit


def test_a_step_is_ddas():
    """118,287 pairs: 14,785 steps of eight pairs of six images, of which the contrastive loss compares two pairs."""
    plan = training.plan(ExpertSettings(), 118_287, 0)
    assert (plan.num_steps, plan.batch_size, plan.group_size, plan.images_per_item) == (14_785, 8, 2, 6)


@pytest.mark.parametrize("compared", [2, 4], ids="of {} pairs".format)
@pytest.mark.parametrize(("num", "images"), [(1, 2), (2, None), (2, 2), (3, 4)])
def test_processes_and_passes_train_as_one(num, images, compared, alone, domains, tmp_path, monkeypatch):
    """Four pairs a step; the contrastive loss sees all of them or half, wherever they were computed."""
    settings, expected = alone(compared)
    if images:
        monkeypatch.setenv("AIGID_BATCH", str(images))
    together(num, _fit, settings, {"gan": domains["gan"]}, tmp_path)
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(num)]
    for part in parts:
        assert_trained_alike(part, expected)
        torch.testing.assert_close(part, parts[0], atol=0, rtol=0)


def test_two_processes_then_one_then_four(alone, domains, tmp_path):
    """Twelve steps."""
    settings, expected = alone(SHORT.contrastive_batch_size)
    for num in (2, 1, 4):
        assert not (tmp_path / "0.pt").exists()
        together(num, _fit, settings, {"gan": domains["gan"]}, tmp_path, 4)
    assert_trained_alike(torch.load(tmp_path / "3.pt", weights_only=True), expected)


def test_all_processes_read_at_once(domains, monkeypatch, tmp_path):
    """A pair of training is read only while two others are."""
    monkeypatch.setenv("AIGID_WORKERS", "3")
    monkeypatch.setenv("AIGID_CACHE", str(tmp_path))
    barrier, read = multiprocessing.get_context("fork").Barrier(3), data.Pairs.read

    def wait_and_read(pairs, index):
        if pairs.records[index]["real"].startswith("train/"):
            barrier.wait(30)
        return read(pairs, index)

    monkeypatch.setattr(data.Pairs, "read", wait_and_read)
    settings = SHORT.model_copy(update={"batch_size": 6, "contrastive_batch_size": 6})
    log = training.fit(settings, {"gan": domains["gan"]}, 0, torch.device("cpu"))[1]
    assert len(log) == 2


def test_the_gate_learns_from_the_cache_and_leaves_the_experts_alone(trained, features):
    paths, _ = trained
    before = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in paths.items()}
    train = join(features.values(), "train", ["clean", "blur3"])
    assert train.widths == (96, 96)
    assert len(train) == 2 * 2 * 2 * NUM["train"]
    assert train.y.mean() == 0.5
    sef = Sef.fit(SETTINGS, train, train, 0, experts=paths["vae"].parent)
    test = join(features.values(), "test")
    np.testing.assert_allclose(sef.gate(test.x).sum(axis=1), 1, atol=1e-6)
    scores = sef.p_generated(test.x)
    assert scores[test.y == 1].mean() > scores[test.y == 0].mean() + 0.3
    assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in paths.items()} == before
    with pytest.raises(InputError, match=r"features of widths \(96,\), want 2 of one width"):
        Sef.fit(SETTINGS, LabeledEmbeddings(train.x[:, :96], train.y, widths=(96,)), train, 0, experts=Path())


def test_a_bundle_scores_images_from_anywhere(domains, trained, features, tmp_path, monkeypatch):
    monkeypatch.setenv("AIGID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AIGID_DEVICE", "cpu")
    train = join(features.values(), "train")
    sef = Sef.fit(SETTINGS, train, train, 0, experts=trained[0]["vae"].parent)
    bundles.save(bundle(sef, features), tmp_path / "m")
    table = features["gan"].table.query("split == 'test'").reset_index(drop=True)
    expected = sef.p_generated(features["gan"].split("test").x)
    table["path"] = [str(domains["gan"].root / path) for path in table["path"]]
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"none")
    table = pd.concat([table, table.tail(1).assign(path=str(broken), sha256="0" * 64)], ignore_index=True)
    predicted = aigid.load(tmp_path / "m").predict(table["path"].tolist())
    assert [prediction.ok for prediction in predicted] == [True] * 24 + [False]
    assert predicted[-1].score is None
    np.testing.assert_allclose([one.score for one in predicted[:-1]], expected, atol=1e-5)
    head = tmp_path / "m" / "vae.safetensors"
    head.write_bytes(head.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=r"vae\.safetensors"):
        aigid.load(tmp_path / "m")


def test_the_comparison(domains, trained, features, tmp_path):
    paths, _ = trained
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIGID_CACHE", str(tmp_path / "cache"))
        mixed = embedded(domains, paths, tmp_path, ("both",))
    exams = {f"held-out {name}": sef.build_test_set([features[name], mixed[name]]) for name in domains}
    assert all(x.shape == (24, 288) for _, x in exams.values())
    train = join(features.values(), "train")
    gate = Sef.fit(SETTINGS, train, train, 0, experts=paths["vae"].parent)
    methods = sef.expert_scorers(gate, train, paths, 0)
    scores = {of: {name: [verdict(x)] for name, (_, x) in exams.items()} for of, verdict in methods.items()}
    table = sef.table({name: one for name, (one, _) in exams.items()}, scores, 0)
    assert len(table) == 6 * 2
    assert table["auroc"].between(table["low"], table["high"]).all()
    one = exams["held-out vae"][1]
    alone = model.load(EXPERT, paths["gan"])
    table_gan = manifest.read(domains["vae"].root / "manifest.csv").query("split == 'test'")
    images = [np.asarray(Image.open(domains["vae"].root / path)) for path in table_gan["path"]]
    with torch.no_grad():
        logits = alone(normalize(np.stack(images), alone.preprocess, alone.device))[1].numpy()
    np.testing.assert_allclose(methods["expert gan"](one), 1 / (1 + np.exp(-logits)), atol=1e-4)
    mean = (methods["expert vae"](one) + methods["expert gan"](one)) / 2
    np.testing.assert_allclose(methods["mean of the experts' scores"](one), mean)


def test_seeds_are_averaged_and_their_spread_told():
    labels = np.array([0] * 4 + [1] * 4)
    exam = sef.TestSet(labels, np.array(["real"] * 4 + ["a"] * 2 + ["b"] * 2), np.full(8, ""))
    good = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9])  # 1 on both generators
    half = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.0, 0.0])  # 1 on a, 0 on b
    found = sef.evaluate(exam, [good, half], 0)
    assert (found["auroc"], found["lowest_seed"], found["highest_seed"]) == (0.75, 0.5, 1.0)


def test_gradients_of_one_domain_agree_with_themselves(domains, trained):
    one = model.load(EXPERT, trained[0]["both"])
    lessons = {name: training.PairBatches([pairs.split("train")], EXPERT, 32, 0) for name, pairs in domains.items()}
    found = sef_gradients.gradient_cosines(one, EXPERT, lessons, batch=4, num=2)
    assert {name: len(values) for name, values in found.items()} == {"between": 4, "within": 4}
    assert all((np.abs(values) <= 1 + 1e-6).all() for values in found.values())
    same = sef_gradients.gradient_cosines(one, EXPERT, {"a": lessons["vae"], "b": lessons["vae"]}, batch=4, num=2)
    np.testing.assert_allclose(same["between"], 1, atol=1e-5)


class Plain(nn.Module):
    """A class token and a token for each 8 px patch, its mean colour; what leaves is the mean of the latter."""

    feature_info = ()

    def __init__(self):
        super().__init__()
        self.num_prefix_tokens, self.norm = 1, nn.Identity()
        self.blocks = nn.ModuleList([nn.Linear(3, 3), nn.Identity()])
        nn.init.eye_(self.blocks[0].weight)
        nn.init.zeros_(self.blocks[0].bias)

    def forward(self, pixels):
        patches = nn.functional.avg_pool2d(pixels, 8).flatten(2).transpose(1, 2)
        tokens = self.blocks[0](torch.cat([patches[:, :1], patches], dim=1))
        return self.blocks[1](tokens)[:, 1:].mean(dim=1)


class Convolutional(nn.Module):
    """The same of feature maps."""

    feature_info = ()

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.AvgPool2d(8)])

    def forward(self, pixels):
        return self.blocks[0](pixels).mean(dim=(2, 3))


class InnerStage(Convolutional):
    """The same, with a stage after it that the embedding is not made of."""

    def __init__(self):
        super().__init__()
        self.blocks.append(nn.AvgPool2d(2))

    def forward(self, pixels):
        maps = self.blocks[0](pixels)
        self.blocks[1](maps)
        return maps.mean(dim=(2, 3))


@pytest.mark.parametrize("encoder", [Plain, Convolutional, InnerStage])
def test_grad_cam_by_hand(domains, encoder):
    """Where all patches count alike, the map is what speaks for "generated" in each patch's own colour."""
    how = Preprocess(size=32, resize="none")
    one = model.Expert(encoder(), how, "")
    nn.init.constant_(one.head.weight, 0.5)
    images = [domains["gan"].read(place)[1] for place in range(6)]
    pixels = normalize(np.stack(images), how, torch.device("cpu"))
    patches = nn.functional.avg_pool2d(pixels, 8).sum(dim=1, keepdim=True).relu()
    expected = nn.functional.interpolate(patches, size=(32, 32), mode="bilinear")[:, 0]
    expected = expected / expected.amax(dim=(1, 2), keepdim=True)
    np.testing.assert_allclose(sef.grad_cam(one, images), expected.numpy(), atol=1e-5)


def test_pictures_show_every_image_and_generator(domains, trained):
    experts = {name: model.load(EXPERT, trained[0][name]) for name in domains}
    images = [domains["gan"].read(place)[1] for place in range(3)]
    long = "$x_{, a generator of a long name"
    figure = sef.grad_cam_figure(images, ["a", "b", long], experts)
    assert len(figure.axes) == 9
    assert figure.axes[2].get_title() == "\\$x_{, a\ngenerator of a\nlong name"
    gate = sef.gate_weight_figure(np.linspace(0, 1, 6), np.array(["real", long] * 3), "vae")
    assert [label.get_text() for label in gate.axes[0].get_yticklabels()] == ["real", long.replace("$", "\\$")]
    for drawn in (figure, gate):
        drawn.savefig(io.BytesIO())


def test_the_gates_weights_are_drawn_by_generator():
    detector = SimpleNamespace(head=SimpleNamespace(widths=[2, 2]), gate=lambda x: np.tile(x[:, :1], (1, 2)))
    rows = sef.TestSet(np.array([0, 1]), np.array(["real", "b"]), np.arange(2))
    axes = sef.gate_weights(detector, {"demo": (rows, np.full((2, 6), 0.25))}).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["real", "demo: b"]


def test_what_it_refuses(domains, trained, tmp_path, caplog):
    with pytest.raises(InputError, match=r"no aligned\.jsonl; `aigid align` writes it"):
        open_pairs(tmp_path)
    write(tmp_path / "a", "gan")
    (tmp_path / "a/train/fake/03.png").unlink()
    with pytest.raises(InputError, match=r"a pair without its partner: no train/fake/03\.png \(1 such files\)"):
        open_pairs(tmp_path / "a")
    odd = write(tmp_path / "b", "gan")
    Image.new("RGB", (24, 32)).save(tmp_path / "b/train/fake/03.png")
    with pytest.raises(InputError, match=r"pair of train/real/03\.png: \(32, 32\) and \(32, 24\) px"):
        odd.read(3)
    training.PairBatches([domains["vae"].split("train")], EXPERT, 64, 0)
    assert "24 of 24 photographs are smaller than the crop of 64 px and are padded, such as" in caplog.text
    with pytest.raises(InputError, match="an adapter of another base"):
        model.load(EXPERT.model_copy(update={"backbone": "tiny_siglip"}), trained[0]["vae"])


def test_a_training_without_a_dataset_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(train, ["--detector", "sef", "--manifest", "m.csv", "--out", str(tmp_path / "sef")])
    assert done.exit_code == 2
    assert "--dataset is missing, and the section sef of params.yaml has no dataset" in done.output
