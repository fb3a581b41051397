"""Folders become manifests: layouts, splits, limits, and folders that cannot."""

import hashlib
import os
import resource
import shutil

import pytest

from aigid.core import columns, manifest
from aigid.core.errors import InputError
from aigid.data.index import IndexSettings, build_manifest, write_manifest
from tests.helpers.folders import plant

pytestmark = pytest.mark.usefixtures("cache_outside")


def test_cifake_holds_out_validation_by_name(tmp_path):
    plant(tmp_path, *(f"train/{kind}/{n:04}.jpg" for kind in ("REAL", "FAKE") for n in range(1000)))
    plant(tmp_path, "test/REAL/0.jpg", "test/FAKE/0 (2).jpg", "train/other/0.jpg", "stray.jpg")
    table, _ = build_manifest(tmp_path, IndexSettings(layout="cifake", val=0.2), seed=0)
    counts = table.groupby(["split", "generator"]).size()
    assert counts["test"].to_dict() == {"real": 1, "sd14": 1}
    assert counts["train"].sum() + counts["val"].sum() == 2000
    assert 150 < counts["val"]["real"] < 250  # 200 expected, standard deviation 12.6
    again, _ = build_manifest(tmp_path, IndexSettings(layout="cifake", val=0.2), seed=0)
    other, _ = build_manifest(tmp_path, IndexSettings(layout="cifake", val=0.2), seed=1)
    assert table.equals(again)
    assert not table.equals(other)
    few, _ = build_manifest(tmp_path, IndexSettings(layout="cifake", val=0.2, max_images=50), seed=0)
    assert set(few.groupby(["split", "generator"]).size()) == {50, 1}
    assert set(few["path"]) < set(table["path"])


def test_generators_are_held_out_where_labels_name_them(tmp_path):
    plant(tmp_path, *(f"train/1_fake/{n}.png" for n in range(2)))
    plant(tmp_path, *(f"train/{name}/1_fake/{n}.png" for name in "abcde" for n in range(30)))
    plant(tmp_path, *(f"train/0_real/{n:03}.png" for n in range(100)))
    lines = []
    settings = IndexSettings(layout="realfake", val=0.2, test=0.1, held_out_generators=0.4)
    table, _ = build_manifest(tmp_path, settings, 0, lines.append)
    train = set(table.loc[table["split"] != "test", "generator"])
    held_out = set("abcde") - train
    assert len(held_out) == 2
    assert f"held out from training: {', '.join(sorted(held_out))}" in lines
    assert set(table.loc[table["generator"].isin(held_out), "split"]) == {"test"}
    assert {"real", *train} <= set(table.loc[table["split"] == "test", "generator"])  # seen ones are tested as well
    lines.clear()
    unnamed = table.loc[~table["generator"].isin(list("abcde")), "path"]
    for name in "abcde":
        shutil.rmtree(tmp_path / "train" / name)
    table, _ = build_manifest(tmp_path, settings, 0, lines.append)
    assert len(table) == len(unnamed)
    assert any("name fewer than two generators; none is held out" in line for line in lines)


def test_a_label_that_says_nothing_is_named(tmp_path):
    plant(tmp_path, "a.png", "b.png")
    (tmp_path / "labels.csv").write_text("path,label\na.png,0\nb.png,maybe\n")
    with pytest.raises(InputError, match=r"row 2 \(line 3\), column label: 'maybe'"):
        build_manifest(tmp_path, IndexSettings(layout="csv"), seed=0)


def test_a_group_is_held_out_whole(tmp_path):
    lines = [f"{n}.png,{n % 2},{'real' if n % 2 == 0 else 'x'},train,g{n // 4}" for n in range(400)]
    (tmp_path / "m.csv").write_text("\n".join(["path,label,generator,split,group", *lines]))
    plant(tmp_path, *(f"{n}.png" for n in range(400)))
    table, _ = build_manifest(tmp_path, IndexSettings(layout="csv", val=0.3), seed=0)
    assert set(table["split"]) == {"train", "val"}
    assert (table.groupby("group")["split"].nunique() == 1).all()


def test_a_file_that_cannot_be_read_keeps_its_row(tmp_path):
    plant(tmp_path, "0_real/a.png", "1_fake/b.png")
    (tmp_path / "1_fake/gone.png").symlink_to(tmp_path / "nowhere.png")
    table, unreadable = build_manifest(tmp_path, IndexSettings(layout="realfake"), seed=0)
    assert unreadable == ["1_fake/gone.png"]
    assert table["sha256"].map(len).tolist() == [64, 64, 0]


def test_folders_that_are_no_dataset(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        build_manifest(tmp_path / "nowhere", IndexSettings(layout="realfake"), seed=0)
    with pytest.raises(InputError, match=r"unknown layout 'real'; known: aigc.*, csv, realfake"):
        build_manifest(tmp_path, IndexSettings(layout="real"), seed=0)


def test_names_that_are_not_utf8_travel(tmp_path):
    names = [
        b"0_real/\xff\xe9.png",
        "0_real/\u00e9.png".encode(),
        b'1_fake/a, "b"\n.png',
        b"1_fake/ c .PNG",
        b"1_fake/\xf0.jpg",
    ]
    root = tmp_path / "images"
    for name in names:
        file = root / os.fsdecode(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name)
    table, unreadable = build_manifest(root, IndexSettings(layout="realfake", val=0.5, max_images=4), seed=0)
    assert unreadable == []
    manifest.write(table, tmp_path / "m.csv")
    again = manifest.read(tmp_path / "m.csv")
    assert again["path"].tolist() == table["path"].tolist()
    assert {os.fsencode(path) for path in again["path"]} == set(names)
    assert again["sha256"].tolist() == [
        hashlib.sha256((root / path).read_bytes()).hexdigest() for path in again["path"]
    ]


def test_what_is_left_out_is_counted(tmp_path):
    plant(tmp_path, "0_real/a.png", "1_fake/b.png", "docs/d.png", "0_real/a.txt", "README", "1_fake/b.TXT")
    lines = []
    table, _ = build_manifest(tmp_path, IndexSettings(layout="realfake"), seed=0, log=lines.append)
    assert table["path"].tolist() == ["0_real/a.png", "1_fake/b.png"]
    assert lines == [
        "left out: 1 images that stand outside the layout, such as docs/d.png; "
        "3 files that are no images (2 .txt, 1 without suffix)"
    ]
    for path in ("docs/d.png", "0_real/a.txt", "README", "1_fake/b.TXT"):
        (tmp_path / path).unlink()
    build_manifest(tmp_path, IndexSettings(layout="realfake"), seed=0, log=lines.append)
    assert len(lines) == 1


def test_files_that_are_no_files_keep_their_rows(tmp_path):
    plant(tmp_path, "0_real/a.png", "1_fake/b.png")
    os.mkfifo(tmp_path / "1_fake/pipe.png")
    (tmp_path / "1_fake/self.png").symlink_to(tmp_path / "1_fake/self.png")
    (tmp_path / "1_fake/folder.png").mkdir()
    table, unreadable = build_manifest(tmp_path, IndexSettings(layout="realfake"), seed=0)
    assert unreadable == ["1_fake/pipe.png", "1_fake/self.png"]
    assert len(table) == 4


def test_train_can_give_test_and_val(tmp_path):
    plant(tmp_path, *(f"train/{kind}/{n:04}.jpg" for kind in ("0_real", "1_fake") for n in range(500)))
    table, _ = build_manifest(tmp_path, IndexSettings(layout="realfake", val=0.2, test=0.2), seed=0)
    counts = table.groupby("split").size()
    assert 150 < counts["test"] < 250  # 200 expected, standard deviation 12.6
    assert 110 < counts["val"] < 210  # a fifth of the other 800


def several(root):
    """A dataset with splits of its own, and one that is all train; groups of both have the same names."""
    plant(root, *(f"web/train/{kind}/{n}.jpg" for kind in ("real", "fake") for n in range(40)))
    plant(root, "web/test/real/0.jpg", "web/test/fake/0.jpg")
    plant(root, *(f"faces/{kind}/{n}.jpg" for kind in ("Real", "Fake") for n in range(40)))
    return {
        "web": {"layout": "aligned_pairs", "val": 0.3},
        "faces": {"layout": "deepfake60k", "val": 0, "max_images": 25},
    }


def test_a_dataset_of_several_is_the_rows_of_each(tmp_path):
    parts = several(tmp_path)
    table, unreadable = build_manifest(tmp_path, IndexSettings(parts=parts), seed=0)
    assert unreadable == []
    for name, settings in parts.items():
        alone, _ = build_manifest(tmp_path / name, IndexSettings(**settings), seed=0)
        rows = table[table["path"].str.startswith(f"{name}/")]
        assert (f"{name}/" + alone["path"]).tolist() == rows["path"].tolist()
        for column in ("label", "generator", "split", "sha256"):
            assert alone[column].tolist() == rows[column].tolist()
    assert table.groupby(table["path"].str.partition("/")[0]).size().to_dict() == {"faces": 50, "web": 82}
    assert table["group"].str.startswith("web/").sum() == 82
    assert all((tmp_path / path).is_file() for path in table["path"])
    assert set(table.loc[table["path"].str.startswith("faces/"), "split"]) == {"train"}


def test_parts_that_are_one_folder_are_refused(tmp_path):
    parts = several(tmp_path / "data")
    (tmp_path / "all").mkdir()
    for name in ("web", "faces"):
        (tmp_path / "all" / name).symlink_to(tmp_path / "data" / name)
    (tmp_path / "all/again").symlink_to(tmp_path / "data/faces")
    (tmp_path / "all/above").symlink_to(tmp_path / "data")
    assert len(build_manifest(tmp_path / "all", IndexSettings(parts=parts), seed=0)[0]) == 132
    for other in ("again", "above"):
        changed = IndexSettings(parts=parts | {other: parts["faces"]})
        with pytest.raises(
            InputError, match=rf"parts \w+ and {other} are one folder, .*: its images would count twice"
        ):
            build_manifest(tmp_path / "all", changed, seed=0)


def test_an_image_with_two_labels_is_refused(tmp_path):
    parts = several(tmp_path)
    (tmp_path / "faces/Real/0.jpg").write_bytes((tmp_path / "web/train/fake/0.jpg").read_bytes())
    parts["faces"]["max_images"] = None
    with pytest.raises(InputError, match=r"one image has two labels: faces/Real/0.jpg and web/train/fake/0.jpg"):
        build_manifest(tmp_path, IndexSettings(parts=parts), seed=0)


def test_a_layout_or_parts():
    with pytest.raises(ValueError, match=r"want a layout, or parts"):
        IndexSettings()
    with pytest.raises(ValueError, match=r"parts: each has settings of its own; found layout, val beside them"):
        IndexSettings(layout="cifake", val=0.2, parts={"a": {"layout": "cifake"}})
    with pytest.raises(ValueError, match=r"parts.a"):
        IndexSettings(parts={"a": {}})


def test_a_disk_that_fills_leaves_the_manifest_of_before(tmp_path, monkeypatch):
    """Rows are hashed and written block by block; what is written is that of a table in memory."""
    monkeypatch.setattr(columns, "BLOCK", 8)
    plant(tmp_path / "d", *(f"{kind}/{n:02}.jpg" for kind in ("0_real", "1_fake") for n in range(20)))
    settings, out = IndexSettings(layout="realfake"), tmp_path / "m.csv"
    counts, unreadable = write_manifest(out, tmp_path / "d", settings, 0)
    assert (counts, unreadable) == ("test  real: 20\ntest  unknown: 20", [])
    before = out.read_bytes()
    manifest.write(build_manifest(tmp_path / "d", settings, 0)[0], tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == before
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(OSError, match=f"File too large: '{tmp_path}'"):
            write_manifest(out, tmp_path / "d", settings, 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert out.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.csv", "d", "m.csv"]
