"""The paper's protocols from end to end on small trees of the published layouts: GenDet's scores, each set's number."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aigid.cli import preset
from aigid.core import params, scores
from aigid.core.files import write_text
from aigid.data.index import IndexSettings, build_manifest
from aigid.detectors.bundle import Bundle, score
from aigid.detectors.gendet.detector import GenDet
from aigid.detectors.gendet.settings import GenDetSettings
from aigid.detectors.samples import Samples, open_dataset
from aigid.evaluation import protocols
from tests.helpers.embeddings import write_embeddings
from tests.helpers.folders import UFD_SETS

GANS = ["progan", "cyclegan", "biggan", "stylegan", "gaugan", "stargan", "deepfake", "seeingdark", "san", "crn", "imle"]
DIFFUSION = ["guided", "ldm_200", "ldm_200_cfg", "ldm_100", "glide_100_27", "glide_50_27", "glide_100_10", "dalle"]
GENIMAGE = (
    ["midjourney", "stable_diffusion_v_1_4", "stable_diffusion_v_1_5", "ADM", "glide", "wukong", "VQDM", "BigGAN"]
)  # fmt: skip
DEGRADED = ["clean", *protocols.GENIMAGE_VIEWS]


def written(folder: Path, name: str) -> Path:
    """The params.yaml of a preset."""
    path = folder / f"{name}.yaml"
    path.write_text(preset.text(name))
    return path


def planted(root: Path, layout: str) -> pd.DataFrame:
    """The manifest of a tree with a few files in every folder that the layout wants, as the preset indexes it."""
    if layout == "ufd":
        folders = [f"datasets/train/progan/car/{kind}" for kind in ("0_real", "1_fake") for _ in range(1)]
        folders += [f"datasets/test/{name}/{kind}" for name in GANS for kind in ("0_real", "1_fake")]
        folders += [f"diffusion_datasets/{name}/1_fake" for name in DIFFUSION]
        folders += [f"diffusion_datasets/{name}/0_real" for name in ("imagenet", "laion")]
    else:
        folders = [f"{name}/{split}/{kind}" for name in GENIMAGE for split in ("train", "val")
                   for kind in ("ai", "nature")]  # fmt: skip
    for folder in folders:
        for number in range(40 if "train" in folder else 4):
            write_text(root / folder / f"{number}.png", f"{folder}/{number}")
    settings = params.load_section(f"index.{layout}", IndexSettings, written(root.parent, layout))
    return build_manifest(root, settings, seed=0)[0]


def embedded(table: pd.DataFrame, path: Path, views: list[str]) -> Samples:
    """Embeddings that tell fakes by three of eight columns, in every view."""
    rng = np.random.default_rng(0)
    x = {view: rng.normal(size=(len(table), 8)) for view in views}
    for rows in x.values():
        rows[:, :3] += 3 * table["label"].to_numpy()[:, None]
    views = {view: rows.astype("float16") for view, rows in x.items()}
    write_embeddings(path, views, table["sha256"], ["ok"] * len(table), {"fingerprint": ["b"]})
    return open_dataset(table, [path])


def judged(tmp_path: Path, layout: str, views: list[str]) -> dict[str, float]:
    """The preset's own GenDet, narrower and faster, through scores to the protocol."""
    dataset = embedded(planted(tmp_path / "tree", layout), tmp_path / "e.h5", views)
    settings = params.load_section("gendet", GenDetSettings, written(tmp_path, layout))
    small = {"learning_rate": 1e-3, "batch_size": 16}
    chosen = settings.model_dump() | {"num_rotations": 2, **small}
    chosen["teacher"] |= {"width": 8, "heads": 2, **small}
    chosen["classifier"] |= {"epochs": 20} | small
    detector = GenDet.fit(
        GenDetSettings.model_validate(chosen), dataset.split("train"), dataset.split("val"), seed=0
    )  # fmt: skip
    table = score(Bundle("gendet", detector, chosen, dataset.fingerprints), dataset)
    return protocols.find(layout).apply(scores.validate(table, layout))


def test_ufd_trains_on_progan_and_judges_19_sets(tmp_path) -> None:
    found = judged(tmp_path, "ufd", ["clean"])
    sets = {key.removeprefix("ap_"): value for key, value in found.items() if key.startswith("ap_")}
    assert set(sets) == set(UFD_SETS)
    assert found["acc_val"] > 0.8
    assert found["map"] == pytest.approx(np.mean(list(sets.values())))
    assert found["map"] > 0.9


def test_genimage_trains_on_sd14_and_judges_8_generators_and_6_degradations(tmp_path) -> None:
    found = judged(tmp_path, "genimage", DEGRADED)
    assert sum(key.startswith("acc_") for key in found) == 8
    assert sum(key.startswith("degraded_") for key in found) == 6
    assert found["acc"] > 0.8
    assert found["degraded"] > 0.8


@pytest.mark.parametrize(
    ("name", "lr", "teacher_lr", "classifier_lr"), [("ufd", 1e-4, 1e-5, 1e-5), ("genimage", 1e-5, 1e-5, 1e-3)]
)
def test_the_presets_hold_the_papers_numbers(
    name: str, lr: float, teacher_lr: float, classifier_lr: float, tmp_path: Path
) -> None:
    settings = params.load_section("gendet", GenDetSettings, written(tmp_path, name))
    assert (settings.margin, settings.alpha, settings.num_rotations, settings.mode) == (2.0, 0.1, 10, "full")
    rates = (settings.learning_rate, settings.teacher.learning_rate, settings.classifier.learning_rate)
    assert rates == (lr, teacher_lr, classifier_lr)
    shape = settings.teacher
    assert (shape.width, shape.heads, shape.expansion, shape.num_tokens) == (196, 4, 4, 4)
