"""Audits of datasets whose defects are known, and of sound ones; which rows an audit samples and compares."""

import json
import os
from dataclasses import asdict
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skimage
from PIL import Image
from rich.console import Console

from aigid.core import manifest
from aigid.core.errors import InputError
from aigid.data.audit import ALL_FEATURES, Association, Count, SubsetResult, audit, read_audit, report
from aigid.data.audit.audit import AuditSettings, describe_values, run_audit
from aigid.data.audit.findings import build_audit
from aigid.data.index import IndexSettings, build_manifest
from aigid.degradations.views import export_view

SHARED = Path(__file__).parents[4] / "shared"
PHOTO = Image.fromarray(skimage.data.astronaut())


def dataset(root, save, num=80, generators=("sdxl",), seed=0, splits=("test",)):
    """``num`` images a class; ``save(crop, stem, label, rng)`` writes each. All are other pictures, but for luck.

    One split of one generator is judged once, being all there is.
    """
    rng, rows = np.random.default_rng(seed), []
    root.mkdir(exist_ok=True)
    for number in range(2 * num):
        label = number % 2
        left, top, side = *rng.integers(0, 300, 2), rng.integers(100, 200)
        crop = PHOTO.crop((left, top, left + side, top + side)).rotate(90 * rng.integers(4))
        generator = generators[number // 2 % len(generators)] if label else "real"
        split = splits[number // 2 % len(splits)]
        path = save(crop, root / f"{number:03}", label, rng)
        rows.append((path.name, label, generator, split))
    return pd.DataFrame(rows, columns=["path", "label", "generator", "split"])


def jpeg(crop, stem, size=(64, 64), quality=90):
    path = stem.with_suffix(".jpg")
    crop.resize(size).save(path, quality=quality)
    return path


def alike(crop, stem, label, rng):
    """Sizes and qualities that differ, but not by class."""
    return jpeg(crop, stem, rng.integers(56, 72, 2).tolist(), int(rng.integers(80, 96)))


def by_height(crop, stem, label, rng):
    return jpeg(crop, stem, (64, 64 if label else int(rng.integers(50, 80))))


def by_quality(crop, stem, label, rng):
    return jpeg(crop, stem, quality=96 if label else int(rng.integers(70, 96)))


def look(table, root, seed=0, **settings):
    return run_audit(table, root, AuditSettings(**settings), seed)


def tie_of(found, feature, name="all"):
    (part,) = (part for part in found.parts if part.name == name)
    (tie,) = (tie for tie in [*part.container, *part.shallow] if tie.feature == feature)
    return tie


@pytest.mark.parametrize(("save", "feature"), [(by_height, "height"), (by_quality, "JPEG quality")])
def test_a_container_that_knows_the_label_is_refused(tmp_path, save, feature):
    found = look(dataset(tmp_path, save), tmp_path)
    tie = tie_of(found, feature)
    assert tie.auroc >= 0.95
    assert 0.8 < tie.low < tie.auroc <= tie.high
    assert found.verdict == "leaks"
    assert found.refused
    assert found.highest >= tie.auroc
    assert report.title_line(found).startswith(f"leaks: {feature} alone tells generated from real with AUROC")
    assert "normalize512" in found.findings[0].mend
    assert tie_of(found, "bit depth").auroc == 0.5
    assert report.summary_lines(found, "mine")[0].startswith(f"mine: {feature} alone")


@pytest.mark.parametrize("seed", range(3))
def test_a_container_that_varies_alike_passes(tmp_path, seed):
    found = look(dataset(tmp_path, alike, seed=seed), tmp_path)
    assert not found.refused
    assert found.highest == 0.5
    assert not [finding for finding in found.findings if "tell" in finding.text and finding.level != "note"]


def test_one_container_for_all_is_exactly_a_half(tmp_path):
    found = look(dataset(tmp_path, lambda crop, stem, label, rng: jpeg(crop, stem)), tmp_path)
    assert {tie.auroc for part in found.parts for tie in part.container} == {0.5}
    assert found.highest == 0.5
    assert "file size" in str(report.tables(found))


def test_the_one_generator_that_differs_is_named(tmp_path):
    def save(crop, stem, label, rng):
        if int(stem.name) % 16 == 1:  # one of eight generators
            crop.resize((64, 64)).save(stem.with_suffix(".png"))
            return stem.with_suffix(".png")
        return jpeg(crop, stem)

    table = dataset(tmp_path, save, num=96, generators=[f"g{k}" for k in range(8)])
    found = look(table, tmp_path)
    assert tie_of(found, "format").auroc < 0.6
    assert tie_of(found, "format", "g0").auroc == 1
    assert tie_of(found, "format", "g1").auroc == 0.5
    assert found.refused
    assert "in generator g0" in report.title_line(found)
    assert "generators that the container gives away: g0" in [finding.text for finding in found.findings]


def test_the_limit_is_the_callers(tmp_path):
    def save(crop, stem, label, rng):  # known in 60 % of the fakes
        return jpeg(crop, stem, quality=95 if label and rng.random() < 0.6 else 90)

    table = dataset(tmp_path, save, num=100)
    assert look(table, tmp_path).refused
    mild = look(table, tmp_path, auroc_threshold=0.9)
    assert not mild.refused
    assert [finding.level for finding in mild.findings if "within the limit 0.9" in finding.text] == ["suspicious"]


def test_copies_and_groups(tmp_path):
    splits = ("train", "train", "val", "test")
    table = dataset(tmp_path, lambda crop, stem, label, rng: jpeg(crop, stem), num=20, splits=splits)
    original = (tmp_path / "000.jpg").read_bytes()
    for name in ("004.jpg", "006.jpg"):
        (tmp_path / name).write_bytes(original)  # 000 and 004 are in val or train, 006 in test
    Image.open(tmp_path / "010.jpg").resize((64, 64)).save(tmp_path / "011.jpg", quality=70)
    table["group"] = ""
    table.loc[[10, 11], "group"] = "photo 10"
    table.loc[[0, 2, 6], "group"] = "torn"
    found = look(table, tmp_path)
    copies = {(group.kind, group.across): group.num_images for group in found.copies}
    assert copies["exact", "splits"] == 3
    assert copies["near", "group"] == 2
    assert ("exact", "classes") not in copies
    assert found.straddling == ["torn"]
    assert found.verdict == "leaks"
    assert [finding.level for finding in found.findings if "another of their group" in finding.text] == ["note"]
    assert [finding.level for finding in found.findings if "torn" in finding.text] == ["leaks"]


def test_images_that_cannot_be_read_are_named_and_counted_by_class(tmp_path):
    table = dataset(tmp_path, lambda crop, stem, label, rng: jpeg(crop, stem), num=20)
    (tmp_path / "001.jpg").write_bytes(b"")
    (tmp_path / "003.jpg").unlink()
    (tmp_path / "005.jpg").write_bytes((tmp_path / "005.jpg").read_bytes()[:700])  # the header is whole
    found = look(table, tmp_path)
    assert {image.path: image.status for image in found.unreadable} == {
        "001.jpg": "empty",
        "003.jpg": "missing",
        "005.jpg": "truncated",
    }
    assert any("3 images cannot be read (0 real, 3 generated)" in finding.text for finding in found.findings)
    assert sum(count.num_images for count in found.counts) == 40
    assert found.verdict == "suspicious"


def test_too_few_images_decide_nothing(tmp_path):
    table = dataset(tmp_path, by_quality, num=4)
    found = look(table, tmp_path)
    assert (found.verdict, found.refused) == ("undecided", False)
    assert "4 independent images of a class are too few to tell" in report.title_line(found)
    assert look(table.assign(group="one"), tmp_path).parts[0].omitted == [
        "container: 1 real and 1 generated independent images (a group is one), want 2",
        "shallow: 1 real and 1 generated independent images (a group is one), want 2",
    ]
    reals = look(table[table["label"] == 0], tmp_path)
    assert "split test has no generated image" in report.title_line(reals)


def test_a_wrong_root(tmp_path):
    table = dataset(tmp_path, lambda crop, stem, label, rng: jpeg(crop, stem), num=2)
    with pytest.raises(InputError, match="no such folder"):
        look(table, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"none of the manifest's 4 images is there, such as 000\.jpg"):
        look(table, tmp_path / "empty")


def test_same_findings_from_json_from_any_threads_and_for_one_seed(tmp_path, monkeypatch):
    table = dataset(tmp_path, by_height, num=40)
    monkeypatch.setenv("AIGID_WORKERS", "1")
    found = look(table, tmp_path, max_images=50)
    monkeypatch.setenv("AIGID_WORKERS", "4")
    assert look(table, tmp_path, max_images=50) == found
    text = json.dumps(asdict(found), allow_nan=False)
    (tmp_path / "audit.json").write_text(text)
    assert read_audit(tmp_path / "audit.json") == found
    (tmp_path / "audit.json").write_text("{}")
    with pytest.raises(InputError, match=r"audit\.json"):
        read_audit(tmp_path / "audit.json")
    assert found.num_sampled == 50
    other = look(table, tmp_path, seed=1, max_images=50)
    assert tie_of(other, "file size") != tie_of(found, "file size")


def test_the_remedy_makes_containers_alike(tmp_path):
    table = dataset(tmp_path / "leaking", by_quality, num=20)
    assert look(table, tmp_path / "leaking").refused
    export_view(table, tmp_path / "leaking", "normalize512", 0, tmp_path / "mended")
    found = look(manifest.read(tmp_path / "mended/manifest.csv"), tmp_path / "mended")
    assert {tie.auroc for part in found.parts for tie in part.container} == {0.5}


def test_names_that_are_not_utf8(tmp_path):
    table = dataset(tmp_path, lambda crop, stem, label, rng: jpeg(crop, stem), num=20)
    table["path"] = table["path"].astype(object)  # as an index gives it
    name = os.fsdecode(b"caf\xe9.jpg")
    table.loc[0, "path"] = table.loc[1, "path"] = name  # of which neither is there
    (tmp_path / os.fsdecode(b"na\xefve.jpg")).write_bytes((tmp_path / "002.jpg").read_bytes())
    table.loc[3, "path"] = os.fsdecode(b"na\xefve.jpg")
    found = look(table, tmp_path)
    assert found.unreadable[0].path == name
    assert r"caf\udce9.jpg" in report.tables(found)["Cannot be read"].to_csv().encode().decode()
    assert r"na\udcefve.jpg" in report.title_line(found) + "".join(report.summary_lines(found, "mine"))
    (tmp_path / "audit.json").write_text(json.dumps(asdict(found)))
    assert read_audit(tmp_path / "audit.json") == found


def test_the_verdict_stands_first(tmp_path):
    found = look(dataset(tmp_path, by_height, num=40), tmp_path)
    console = Console(width=100, record=True, file=StringIO())
    report.print_audit(found, console)
    text = console.export_text()
    assert text.startswith("leaks: ")
    titles = list(report.tables(found))
    assert [text.index(title) for title in titles] == sorted(text.index(title) for title in titles)
    assert text.index("to mend it") < text.index(titles[0])
    cells = [cell for table in report.tables(found).values() for cell in table.to_numpy().ravel()]
    assert {type(cell) for cell in cells} == {str}


@pytest.mark.parametrize("num", [10, 40, 99])
def test_a_sample_is_even_and_does_not_depend_on_other_rows(num):
    cells = {("real", "train"): 60, ("real", "test"): 5, ("a", "train"): 3, ("b", "test"): 32}
    rows = [(f"{name}/{split}/{k}", name, split) for (name, split), size in cells.items() for k in range(size)]
    table = pd.DataFrame(rows, columns=["path", "generator", "split"])
    table["label"] = (table["generator"] != "real").astype(int)
    line = audit.priorities(table, seed=0)
    drawn = audit.sample(table, np.arange(100), line, num)
    counts = table.iloc[drawn].groupby(["generator", "split"]).size()
    assert len(set(drawn)) == len(drawn) == num
    fakes = counts.drop("real").sum()
    assert fakes == min(num // 2 + num % 2, 35) or fakes == num // 2
    assert counts["a", "train"] == 3 if num > 10 else counts["a", "train"] in (2, 3)
    assert counts["real", "test"] == min(5, (num - fakes) // 2)
    assert (line[1:] == audit.priorities(table[1:], seed=0)).all()
    assert (line != audit.priorities(table, seed=1)).all()


def test_parts_pair_a_generator_with_its_own_reals():
    rows = [
        ("real", "train", "coco"), ("real", "test", "a-set"), ("real", "test", "coco"),
        ("a", "test", "a-set"), ("b", "test", ""), ("c", "train", ""),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["generator", "split", "source"])
    table["label"] = (table["generator"] != "real").astype(int)
    found = {(kind, name): rows.tolist() for kind, name, rows in audit.subsets(table)}
    assert found == {
        ("all", "all"): [0, 1, 2, 3, 4, 5],
        ("split", "train"): [0, 5],
        ("split", "test"): [1, 2, 3, 4],
        ("generator", "a"): [1, 3],
        ("generator", "b"): [1, 2, 4],
        ("generator", "c"): [0, 5],
    }


def test_units_are_groups_then_contents_then_paths():
    table = pd.DataFrame(
        {"path": list("abcdef"), "sha256": ["1", "1", "1", "", "", "2"], "group": ["g", "g", "", "", "", "g"]}
    )
    assert audit.independence_groups(table).tolist() == [0, 0, 1, 2, 3, 0]
    assert audit.independence_groups(table[["path"]]).tolist() == [0, 1, 2, 3, 4, 5]


def test_values_in_few_words():
    assert describe_values(pd.Series([512] * 9 + [480])) == "512 (90 %), 480 (10 %)"
    assert describe_values(pd.Series([-1] * 4)) == "none (100 %)"
    assert describe_values(pd.Series(range(101)) / 10) == "median 5 (0.5 to 9.5)"
    assert describe_values(pd.Series(["JPEG", "PNG", "JPEG"])) == "JPEG (67 %), PNG (33 %)"


def test_photographs_of_one_container_are_clean():
    root = SHARED / "data/photos_dev"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    table, _ = build_manifest(root, IndexSettings(layout="realfake"), 0)
    found = look(table.groupby("label").head(60), root, max_images=60)
    assert (found.verdict, found.highest) == ("clean", 0.5)


@pytest.mark.parametrize(("high", "num"), [(0.44, 1), (0.46, 0)])
def test_an_auroc_well_under_chance_gets_a_hint(high, num):
    """What is learnt on some folds and wrong on others: labels of a part are the wrong way round."""
    joint = Association(ALL_FEATURES, 0.3, 0.2, high, 0.99)
    part = SubsetResult("split", "test", 50, 50, 50, [joint], [], [])
    counts = [Count("test", name, 50, 0) for name in ("real", "gan")]
    made = build_audit(0.6, 100, counts, [part], [], [], [])
    hints = [finding for finding in made.findings if "lies under chance" in finding.text]
    assert len(hints) == num
    for hint in hints:
        assert hint.text.startswith(f"split test: AUROC 0.300 [0.200, {high:.3f}] of the container lies under chance")
        assert "labels the wrong way round" in hint.mend
