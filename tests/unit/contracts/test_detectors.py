"""What every detector promises: trained ones, on embeddings or images, and imported ones."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner
from safetensors.torch import save as save_tensors
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

from aigid import detectors
from aigid.aligned.generator import VaeSettings, obtain_autoencoder
from aigid.core import embeddings, manifest
from aigid.core.errors import InputError
from aigid.core.files import sha256
from aigid.detectors import bundle
from aigid.detectors.bundle import score
from aigid.detectors.featdistill import model as featdistill
from aigid.detectors.featdistill.detector import EnsembleMember, FeatDistill
from aigid.detectors.samples import LabeledEmbeddings, Samples, open_dataset, open_to_score
from aigid.detectors.sef import model as sef
from aigid.detectors.sef.settings import SefSettings
from aigid.generators.autoencoder_kl import save
from aigid.importers.dda import Dda
from aigid.importers.hub_classifier import HubClassifier
from stages import train as stage
from tests.helpers import demo_experts
from tests.helpers.embeddings import write_embeddings
from tests.helpers.tiny_models import VAE, Texts

SHORT = {"epochs": 20, "learning_rate": 0.01, "batch_size": 16}
FUSION = {"width": 4, "hidden": 4, "weight_decay": 0.01, **SHORT}
TEACHER = {"num_tokens": 2, "width": 8, "heads": 2, "expansion": 2, **SHORT}
CNN = {"size": 16, "model": "test_efficientnet", "stem_stride": 1, "optimizer": "adamw", "schedule": "one_cycle"}
SETTINGS: dict[str, dict[str, Any]] = {  # of the trained detectors
    "probe": {"c": 1.0},
    "knn": {"k": 3},
    "gate": FUSION,
    "concatenation": FUSION,
    "averaging": FUSION,
    "svm": {"gamma": 0.5},
    "stacking": {
        "folds": 2,
        "weights_from": "group_folds",
        "members": {"a": {"detector": "probe", "c": 1.0, "backbones": [0]}, "b": {"detector": "knn", "k": 3}},
    },
    "occ": {"n_ctx": 2, "epochs": 40, "batch_size": 16, "learning_rate": 1.0, "shared_context": False},
    "gendet": {"learning_rate": 0.001, "batch_size": 16, "teacher": TEACHER, "classifier": SHORT},
    "sef": {"expert": {"backbone": "tiny_vit"}, "fusion": {"hidden": 4, **SHORT}},
    "cnn": {**CNN, **SHORT, "epochs": 2},
    "aeroblade": {"size": 16},
    "featdistill": demo_experts.settings(("siglip", "clip")).model_dump(mode="json"),
}
IMPORTED = ("dda", "hub_classifier")
ON_IMAGES = ("aeroblade", "cnn", "featdistill", "hub_classifier")
LEARNS = set(SETTINGS) - {"aeroblade", "cnn", "featdistill"}  # within seconds


@dataclass(frozen=True)
class Material:
    """Samples of each kind, and the folders from which components are taken."""

    embedded: Samples
    images: Samples
    folder: Path

    def of(self, name: str) -> Samples:
        return self.images if name in ON_IMAGES else self.embedded


@pytest.fixture(scope="module")
def material(tmp_path_factory) -> Material:
    folder = tmp_path_factory.mktemp("material")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIGID_CACHE", str(folder / "cache"))
        return Material(_embeddings(folder), _images(folder / "images"), folder)


def _embeddings(folder: Path) -> Samples:
    """80 images, two embedding files with two views, image 9 unreadable."""
    num, rng = 80, np.random.default_rng(0)
    fake = np.arange(num) // 4 % 2
    table = pd.DataFrame({"path": [f"{i:02}.png" for i in range(num)], "label": fake})
    table["generator"] = np.where(fake, "sdxl", "real")
    table["split"] = [("test", "val", "train", "train")[i % 4] for i in range(num)]
    table["source"] = np.where(fake, "", "coco")
    table = manifest.validate(table.assign(sha256=[f"{i:064x}" for i in range(num)]), "table")
    status = ["truncated" if i == 8 else "ok" for i in range(num)]
    for name in ("a", "b"):
        views = {view: rng.normal(size=(num, 4)).astype("float16") for view in ("clean", "jpeg65")}
        for rows in views.values():
            rows[:, 0] += 4 * fake
            rows[8] = np.nan
        write_embeddings(folder / f"{name}.h5", views, table["sha256"], status, {"fingerprint": [name]})
    return open_dataset(table, [folder / "a.h5", folder / "b.h5"])


def _images(folder: Path) -> Samples:
    """36 images, the fakes brighter; the first of test is broken."""
    folder.mkdir()
    table = demo_experts.dataset(folder, num=6).sample(frac=1, random_state=0, ignore_index=True)
    first = table.index[table["split"] == "test"][0]
    (folder / table["path"][first]).write_bytes(b"no image")
    table.loc[first, "sha256"] = "0" * 64
    return Samples(table, folder)


def _components(name: str, material: Material) -> dict[str, Any]:
    folder, table = material.folder / name, material.images.table
    folder.mkdir(exist_ok=True)
    match name:
        case "occ":
            return {"text_encoder": Texts(8)}
        case "sef":
            for seed, domain in enumerate(("vae", "gan")):
                settings = SefSettings(**SETTINGS["sef"]).expert
                expert = sef.build(settings, seed)
                expert.head = torch.nn.Linear(4, 1).requires_grad_(False)
                expert.head.weight.fill_(1)
                expert.head.bias.fill_(seed)
                sef.save(expert, settings, folder / f"{domain}.safetensors")
            return {"experts": folder}
        case "cnn" | "aeroblade":
            settings = VaeSettings(dataset="d", size=16, config=VAE, steps=4, batch_size=4)
            save(obtain_autoencoder(settings, table, material.images.root, 0), folder / "vae")
            return {"vae": folder / "vae"}
        case "featdistill":
            for kind, settings in demo_experts.settings(("siglip", "clip")).experts.items():
                member = EnsembleMember(settings, lambda settings=settings: featdistill.build(settings).eval())
                bundle.save(bundle.Bundle("featdistill", FeatDistill({kind: member}), {}, [kind]), folder / kind)
            return {"experts": folder}
    return {}


def _imported(name: str, material: Material) -> Any:
    if name == "dda":
        return Dda(np.array([1.0] + [0.0] * 7), -2.0, lambda: {"norm.weight": torch.ones(8)})
    folder = material.folder / name
    config = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=16,
                       patch_size=4, id2label={0: "photo", 1: "fake"}, initializer_range=1.0)  # fmt: skip
    torch.manual_seed(0)
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)
    return HubClassifier.from_source(str(folder), ("fake",))


def build(name: str, material: Material) -> bundle.Bundle:
    samples = material.of(name)
    if name in IMPORTED:
        detector, settings = _imported(name, material), {}
    else:
        kind = detectors.get_detector(name)
        given = {key: key for key in ("dataset", "backbone") if key in kind.Settings.model_fields}
        checked = kind.Settings(**(given | SETTINGS[name]))
        train, val = (samples.subset(part) if name in ON_IMAGES else samples.split(part) for part in ("train", "val"))
        detector = kind.fit(checked, train, val, 0, **_components(name, material))
        settings = checked.model_dump(mode="json")
    return bundle.Bundle(name, detector, settings, detector.fingerprints(samples))


@pytest.fixture(scope="module")
def models(material: Material) -> Callable[[str], bundle.Bundle]:
    """A detector by its name, each built once."""
    built: dict[str, bundle.Bundle] = {}

    def model(name: str) -> bundle.Bundle:
        if name not in built:
            built[name] = build(name, material)
        return built[name]

    return model


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


ALL = pytest.mark.parametrize("name", [*SETTINGS, *IMPORTED])


def test_every_detector_is_tested_here() -> None:
    assert set(SETTINGS) == set(detectors.names())
    assert set(IMPORTED) == set(detectors.modules(detectors.IMPORTED_DETECTORS, "Detector"))


@ALL
def test_equal_calls_write_equal_bundles(name: str, material: Material, models: Any, tmp_path: Path) -> None:
    bundle.save(models(name), tmp_path / "models" / name)
    first = files(tmp_path / "models" / name)
    assert [path.name for path in (tmp_path / "models").iterdir()] == [name]  # nothing half-written
    bundle.save(bundle.load(tmp_path / "models" / name), tmp_path / "again")
    assert files(tmp_path / "again") == first
    bundle.save(build(name, material), tmp_path / "models" / name)
    assert files(tmp_path / "models" / name) == first
    document = json.loads(first["model.json"])
    assert document["schema_version"] == bundle.SCHEMA_VERSION == 3
    assert isinstance(document["detector_state"], dict)
    assert "facts" not in document


@ALL
def test_a_loaded_detector_gives_the_scores_of_the_saved_one(
    name: str, material: Material, models: Any, tmp_path: Path
) -> None:
    samples = material.of(name)
    bundle.save(models(name), tmp_path / name)
    scores = score(bundle.load(tmp_path / name), samples, ["clean", "jpeg65"])
    rounded = {"atol": 1e-3} if name == "featdistill" else {}  # its bundle is in half precision
    assert set(scores["model"]) == {bundle.load(tmp_path / name).identity}
    pd.testing.assert_frame_equal(
        scores.drop(columns="model"), score(models(name), samples, ["clean", "jpeg65"]), **rounded
    )
    evaluated = samples.table[samples.table["split"] != "train"]
    assert scores["path"].tolist() == 2 * evaluated["path"].tolist()
    assert scores["view"].tolist() == ["clean"] * len(evaluated) + ["jpeg65"] * len(evaluated)
    failed = scores[scores["status"] != "ok"]
    assert len(failed) == 2
    assert failed["score"].isna().all()
    good = scores[scores["status"] == "ok"]
    assert good["score"].between(0, 1).all()
    if classes := [column for column in good if column.startswith("class_")]:
        assert classes[0] == "class_real"
        np.testing.assert_allclose(good[classes].sum(axis=1), 1)
        np.testing.assert_allclose(good["score"], 1 - good["class_real"], atol=1e-12)
    if name in LEARNS:
        assert good["score"][good["label"] == 1].min() > good["score"][good["label"] == 0].median()


@ALL
def test_a_score_depends_on_no_other_image(name: str, material: Material, models: Any) -> None:
    samples, detector = material.of(name), models(name).detector
    together = detector.score(samples, ["clean"]).values["clean"]
    turned = detector.score(replace(samples, table=samples.table[::-1]), ["clean"]).values["clean"]
    np.testing.assert_allclose(turned[::-1], together, atol=1e-6)
    for index in (0, 11):
        alone = detector.score(replace(samples, table=samples.table[index : index + 1]), ["clean"]).values["clean"]
        np.testing.assert_allclose(alone[0], together[index], atol=1e-6)


@pytest.mark.parametrize("name", sorted({*SETTINGS, "dda"} - set(ON_IMAGES)))
def test_embeddings_of_another_backbone_are_refused(name: str, material: Material, models: Any) -> None:
    dataset = material.embedded
    half = open_dataset(dataset.table, [dataset.files[0][0].path])
    with pytest.raises(InputError, match="made by another backbone"):
        score(models(name), half)


@pytest.mark.parametrize("name", sorted(set(SETTINGS) - set(ON_IMAGES)))
def test_training_needs_both_classes(name: str, material: Material, models: Any) -> None:
    train = material.embedded.split("train")
    reals = LabeledEmbeddings(*(getattr(train, field)[train.y == 0] for field in ("x", "y", "paths")), train.widths,
                              train.generators[train.y == 0])  # fmt: skip
    settings = type(models(name).detector).Settings(**models(name).settings)
    with pytest.raises(InputError, match=r"split train: (no generated images|\d+ real and 0 generated images)"):
        type(models(name).detector).fit(settings, reals, train, 0, **_components(name, material))


def test_columns_of_several_files_stand_side_by_side(material: Material) -> None:
    dataset = material.embedded
    train = dataset.split("train")
    rows = [i for i in range(80) if i % 4 > 1]
    np.testing.assert_array_equal(train.x[:, :4], dataset.files[0][0].view("clean")[rows].astype("float32"))
    np.testing.assert_array_equal(train.x[:, 4:], dataset.files[0][1].view("clean")[rows].astype("float32"))
    assert len(dataset.split("test")) == 19  # 20, less the unreadable one


def test_an_embedding_file_to_score_is_read_once(material: Material, tmp_path: Path, monkeypatch: Any) -> None:
    manifest.write(material.embedded.table, tmp_path / "m.csv")
    reads, read = [], embeddings.read
    monkeypatch.setattr(embeddings, "read", lambda path: reads.append(path) or read(path))
    samples = open_to_score(tmp_path / "m.csv", material.folder / "a.h5", Path(), 0)
    assert reads == [material.folder / "a.h5"]
    assert set(samples.table["split"]) == {"val", "test"}


def test_embeddings_of_another_manifest_are_refused(material: Material) -> None:
    dataset = material.embedded
    with pytest.raises(InputError, match="80 rows, but the manifest has 79"):
        open_dataset(dataset.table[1:], [dataset.files[0][0].path])
    swapped = dataset.table.copy()
    swapped.loc[3, "sha256"] = "f" * 64
    with pytest.raises(InputError, match=r"row of 03\.png holds another image"):
        open_dataset(swapped, [dataset.files[0][0].path])


OTHER_WIDTH = ("weights.safetensors: weight longer", "arrays.safetensors: texts longer")  # seen beside the embeddings
# Of the encoder of a bundle, which is checked when it is opened, before any image is scored.
SEEN_LATER = ("extra", "empty", "norm.weight gone", "norm.weight longer", "norm.weight flat")


def forgeries(content: bytes) -> dict[str, bytes]:
    """A file of tensors, changed: each tensor is at times gone, doubled, too many, of another shape or not finite."""
    tensors = safetensors.torch.load(content)
    names = [name for name in tensors if not name.endswith("num_batches_tracked")]
    forged = {
        "none": b"no tensors",
        "extra": save_tensors(tensors | {"extra": torch.zeros(1)}),
        "empty": save_tensors({}),
    }
    for name in dict.fromkeys(names[:2] + names[-2:]):
        tensor, others = tensors[name], {other: tensors[other] for other in tensors if other != name}
        forged[f"{name} gone"] = save_tensors(others)
        changes = {
            "longer": torch.cat([tensor, tensor], -1) if tensor.ndim else tensor[None],
            "flat": tensor[..., None],
        }
        if tensor.is_floating_point():
            first = torch.arange(tensor.numel()).reshape(tensor.shape) == 0
            changes |= {"NaN": tensor.masked_fill(first, np.nan), "infinite": tensor.masked_fill(first, -np.inf)}
        forged |= {f"{name} {kind}": save_tensors(others | {name: value}) for kind, value in changes.items()}
    return forged


@ALL
def test_forged_arrays_are_refused_though_their_hash_is_right(name: str, models: Any, tmp_path: Path) -> None:
    """When the bundle is loaded, not when it is to score."""
    bundle.save(models(name), tmp_path / name)
    bundle.load(tmp_path / name)
    text, believed = (tmp_path / name / "model.json").read_text(), []
    for file in [file for file in json.loads(text)["files"] if file.endswith(".safetensors")]:
        content = (tmp_path / name / file).read_bytes()
        for kind, forged in forgeries(content).items():
            (tmp_path / name / file).write_bytes(forged)
            metadata = json.loads(text)
            metadata["files"][file] = sha256(tmp_path / name / file)
            changed = json.dumps(metadata | {"sha256": bundle.ZERO_DIGEST}, indent=2) + "\n"
            digest = bundle._digest(changed)
            (tmp_path / name / "model.json").write_text(changed.replace(bundle.ZERO_DIGEST, digest))
            try:
                bundle.load(tmp_path / name)
                believed.append(f"{file}: {kind}")
            except InputError as error:
                assert "\n" not in str(error)  # noqa: PT017
        (tmp_path / name / file).write_bytes(content)
    assert set(believed) <= {*OTHER_WIDTH, *(f"tower.safetensors: {kind}" for kind in SEEN_LATER)}


@pytest.mark.parametrize("name", sorted({*SETTINGS, "dda"} - set(ON_IMAGES)))
def test_embeddings_of_another_width_are_one_line(name: str, material: Material, models: Any) -> None:
    samples = material.embedded
    half = open_dataset(samples.table, [samples.files[0][0].path])
    with pytest.raises(InputError, match=r"embeddings .* columns"):
        models(name).detector.score(half, ["clean"])


def test_a_damaged_model_is_refused(models: Any, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with pytest.raises(InputError, match="no whole model"):
        bundle.load(folder)
    bundle.save(models("probe"), folder)
    weights = folder / "weights.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(InputError, match="not the file that was saved"):
        bundle.load(folder)
    weights.unlink()
    with pytest.raises(InputError, match="no whole model"):
        bundle.load(folder)
    document = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(document | {"detector": "oracle", "files": {}}))
    with pytest.raises(InputError, match=r"unknown detector 'oracle'; known: aeroblade, .*probe"):
        bundle.load(folder)


@pytest.mark.parametrize("name", ["svm", "cnn"])
def test_the_stage_trains_on_train_and_validates_on_val(
    name: str, material: Material, tmp_path: Path, monkeypatch: Any
) -> None:
    """Neither is given an image of the other's split."""
    samples, given = material.of(name), []
    manifest.write(samples.table, tmp_path / "m.csv")
    monkeypatch.setenv("AIGID_DATA", str(material.folder))
    fit = SimpleNamespace(
        plan=lambda settings, table, seed: None,
        fit=lambda settings, train, val, seed: given.extend((train, val)) or sys.exit(3),
    )
    monkeypatch.setattr(stage, "get_detector", lambda name: fit)
    fields = detectors.get_detector(name).Settings.model_fields
    section = {key: "images" for key in ("dataset", "backbone") if key in fields}
    (tmp_path / "params.yaml").write_text(json.dumps({name: section | SETTINGS[name], "seed": 0}))
    monkeypatch.chdir(tmp_path)
    inputs = [*map(str, samples.embedding_paths[:1]), "m.csv"]
    command = ["--detector", name, "--manifest", "m.csv", "--input", inputs[0], "--out", "out"]
    assert CliRunner().invoke(stage.main, command).exit_code == 3
    for split, part in zip(("train", "val"), given, strict=True):
        paths = set(part.table["path"] if isinstance(part, Samples) else part.paths)
        missing = set(samples.table.loc[samples.table["split"] == split, "path"]) ^ paths
        assert len(missing) <= 1  # one image cannot be read
