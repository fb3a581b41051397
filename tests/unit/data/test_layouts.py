"""Folders are walked, layouts suggested, and published protocols kept: which images a test set is evaluated with."""

import contextlib
import os
import tarfile
import zipfile

import pytest

from aigid.core.errors import InputError
from aigid.core.paths import as_path
from aigid.data.index import IndexSettings, build_manifest
from aigid.data.layouts import scan, unmatched_images
from aigid.prediction.inputs import collect_inputs
from tests.helpers.folders import plant
from tests.helpers.hostile import encode, picture

pytestmark = pytest.mark.usefixtures("cache_outside")


def test_the_19_sets_of_ufd_find_their_reals(tmp_path):
    own = [
        "progan",
        "cyclegan",
        "biggan",
        "stylegan",
        "gaugan",
        "stargan",
        "deepfake",
        "seeingdark",
        "san",
        "crn",
        "imle",
    ]
    of_laion = ["ldm_200", "ldm_200_cfg", "ldm_100", "glide_100_27", "glide_50_27", "glide_100_10", "dalle"]
    plant(
        tmp_path,
        *(f"datasets/test/{name}/{kind}/{n}.png" for name in own for kind in ("0_real", "1_fake") for n in range(3)),
        *(f"diffusion_datasets/{name}/1_fake/{n}.png" for name in ["guided", *of_laion] for n in range(3)),
        *(f"diffusion_datasets/{name}/0_real/{n}.png" for name in ["imagenet", "laion"] for n in range(3)),
    )
    table, _ = build_manifest(tmp_path, IndexSettings(layout="ufd", max_images=2), seed=0)
    assert table["path"].is_unique
    fakes, reals = table[table["label"] == 1], table[table["label"] == 0]
    assert fakes.groupby("generator").size().to_dict() == dict.fromkeys(
        [*(set(own) - {"seeingdark"}), "sitd", "guided", *of_laion], 2
    )
    paired = fakes.drop_duplicates("generator").merge(reals, on="source")
    assert paired.groupby("generator_x").size().to_dict() == dict.fromkeys(fakes["generator"], 2)
    laion = paired[paired["source"] == "laion"]
    assert set(laion["generator_x"]) == set(of_laion)
    assert laion["path_y"].nunique() == 2


def test_genimage_trains_on_the_generator_seen(tmp_path):
    plant(
        tmp_path,
        *(
            f"{model}/{split}/{kind}/{n}.png"
            for model in ("stable_diffusion_v_1_4", "ADM")
            for split in ("train", "val")
            for kind in ("ai", "nature")
            for n in range(2)
        ),
    )
    table, _ = build_manifest(tmp_path, IndexSettings(layout="genimage", val=0, seen=["sd14"]), seed=0)
    counts = table.groupby(["split", "generator", "source"]).size().to_dict()
    assert counts == {
        ("test", "adm", "adm"): 2,
        ("test", "real", "adm"): 2,
        ("test", "real", "sd14"): 2,
        ("test", "sd14", "sd14"): 2,
        ("train", "real", "sd14"): 2,
        ("train", "sd14", "sd14"): 2,
    }
    with pytest.raises(InputError, match=r"seen: no generator 'sd1\.4'; found adm, sd14"):
        build_manifest(tmp_path, IndexSettings(layout="genimage", seen=["sd1.4"]), seed=0)


def test_a_photograph_and_its_reconstruction_stay_in_one_split(tmp_path):
    plant(tmp_path, *(f"{kind}/{n}.png" for kind in ("real", "fake") for n in range(200)))
    table, _ = build_manifest(tmp_path, IndexSettings(layout="aligned_pairs", val=0.5), seed=0)
    assert set(table["split"]) == {"train", "val"}
    assert (table.groupby("group")["split"].nunique() == 1).all()
    assert (table.groupby("group").size() == 2).all()


def test_links_are_followed_and_loops_stop(tmp_path):
    store = plant(tmp_path / "store", "a.png", "sub/b.png")
    root = plant(tmp_path / "root", "0_real/own.png")
    for name in ("0_real/x", "1_fake"):
        (root / name).symlink_to(store)
    (store / "sub/back").symlink_to(store)
    (store / "self").symlink_to(store / "self")
    (root / "gone.png").symlink_to(root / "nowhere")
    tree = scan(root)
    assert tree.images == [
        "0_real/own.png",
        "0_real/x/a.png",
        "0_real/x/sub/b.png",
        "1_fake/a.png",
        "1_fake/sub/b.png",
        "gone.png",
    ]
    assert tree.others == ["0_real/x/self", "1_fake/self"]


def test_what_the_walk_takes_for_an_image(tmp_path):
    plant(
        tmp_path,
        "a.JPG",
        "b.tar.png",
        "png",
        ".png",
        "._a.jpg",
        "c.jpg.txt",
        ".git/d.png",
        "__MACOSX/e.png",
        "f.jpg/g.gif",
    )
    os.mkfifo(tmp_path / "pipe.jpg")
    tree = scan(tmp_path)
    assert tree.images == ["a.JPG", "b.tar.png", "f.jpg/g.gif", "pipe.jpg"]
    assert tree.others == ["._a.jpg", ".git/", ".png", "__MACOSX/", "c.jpg.txt", "png"]


def iphone(root):
    """What a phone leaves in a folder, twice of each kind."""
    pixels = picture(64, 64)
    for name, data in {
        "IMG_1.jpg": encode(pixels, "JPEG"),
        "IMG_2.HEIC": encode(pixels, "HEIC"),
        "IMG_3.DNG": b"II*\0\x10\0\0\0CR\x02\0" + bytes(99),
        "IMG_4.MOV": b"\0\0\0\x14ftypqt  " + bytes(99),
        "IMG_4.AAE": b"<plist/>",
        "photo": encode(pixels, "PNG"),
        "blob.bin": encode(pixels, "WEBP"),
        "noise.bin": bytes(range(256)),
        "._IMG_1.jpg": b"\0\5\x16\7",
    }.items():
        (root / name).write_bytes(data)
    return root


ROWS = ["IMG_1.jpg", "IMG_2.HEIC", "IMG_3.DNG", "blob.bin", "photo"]
LEFT_OUT = (
    "left out: 1 videos, such as {0}IMG_4.MOV; 1 hidden files or folders, such as {0}._IMG_1.jpg; "
    "2 files that are no images (1 .aae, 1 .bin)"
)


def test_one_rule_of_what_is_an_image(tmp_path):
    """In a folder, a bucket, archives and `predict`; the rest is always counted."""
    (tmp_path / "0_real").mkdir()
    root = iphone(tmp_path / "0_real")
    (tmp_path / "1_fake").mkdir()
    (tmp_path / "1_fake/f.png").write_bytes(encode(picture(), "PNG"))
    tree = scan(root)
    assert (tree.images, unmatched_images(tree)) == (ROWS, LEFT_OUT.format(""))
    bucket = scan(as_path(f"file://{root}"))
    assert (bucket.images, bucket.others) == (tree.images, tree.others)
    lines = []
    assert collect_inputs([str(root)], None, (), lines.append)["path"].tolist() == [str(root / name) for name in ROWS]
    assert lines == [f"{root}: {LEFT_OUT.format('')}"]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped, tarfile.open(tmp_path / "a.tar", "w") as tarred:
        for path in sorted(tmp_path.rglob("*/*")):
            zipped.write(path, path.relative_to(tmp_path))
            tarred.add(path, path.relative_to(tmp_path))
        zipped.writestr("__MACOSX/0_real/._IMG_1.jpg", b"\0\5\x16\7")
    for suffix in ("zip", "tar"):
        packed = tmp_path / suffix
        packed.mkdir()
        (tmp_path / f"a.{suffix}").rename(packed / f"a.{suffix}")
        lines = []
        table, _ = build_manifest(packed, IndexSettings(layout="realfake", archives=True), 0, lines.append)
        assert [path.rpartition("/")[2] for path in table["path"]] == [*ROWS, "f.png"]
        assert set(table["generator"]) == {"real", "unknown"}
        mac = "2 hidden files or folders" if suffix == "zip" else "1 hidden files or folders"
        want = LEFT_OUT.format(f"a.{suffix}/0_real/").replace("1 hidden files or folders", mac)
        assert lines == [want]


def test_a_name_in_an_archive_need_not_be_utf8(tmp_path):
    (tmp_path / "f.png").write_bytes(encode(picture(), "PNG"))
    with tarfile.open(tmp_path / "a.tar", "w") as tarred:
        for name in ("0_real/caf\udce9.png", "1_fake/b.png"):
            tarred.add(tmp_path / "f.png", name)
    (tmp_path / "f.png").unlink()
    table, _ = build_manifest(tmp_path, IndexSettings(layout="realfake", archives=True), seed=0)
    assert table["path"].tolist() == ["a.tar::0_real/caf\udce9.png", "a.tar::1_fake/b.png"]


def test_one_class_says_what_was_left_out(tmp_path):
    plant(tmp_path, "0_real/a.mov", "1_fake/b.png")
    with pytest.raises(InputError, match=r"all 1 images are generated; left out: 1 videos, such as 0_real/a\.mov; the"):
        build_manifest(tmp_path, IndexSettings(layout="realfake"), seed=0)


@pytest.mark.parametrize("val", ["validation", "valid", "val", "dev", "Eval", "VALIDATION"])
@pytest.mark.parametrize(("real", "fake"), [("0_real", "1_fake"), ("real", "fake"), ("REAL", "Fake"), ("Nature", "AI")])
def test_folders_mean_something_by_a_closed_list(tmp_path, val, real, fake):
    plant(tmp_path, *(f"{split}/{kind}/{split}.png" for split in ("train", val, "Test") for kind in (real, fake)))
    table, _ = build_manifest(tmp_path, IndexSettings(layout="realfake"), seed=0)
    assert table["split"].value_counts().to_dict() == {"train": 2, "val": 2, "test": 2}
    assert set(table["generator"]) == {"real", "unknown"}
    if real == "0_real":
        for layout in ("forensynths", "aigcdetectionbenchmark"):
            with contextlib.suppress(InputError):
                table, _ = build_manifest(tmp_path, IndexSettings(layout=layout), seed=0)
                assert not set(table["generator"]) & {val, "val"}


def test_a_path_of_both_classes_is_left_out(tmp_path):
    plant(tmp_path, "real/a.png", "fake/b.png", "real/ai/c.png", "fake/1_fake/real/d.png")
    lines = []
    table, _ = build_manifest(tmp_path, IndexSettings(layout="realfake"), seed=0, log=lines.append)
    assert dict(zip(table["path"], table["label"], strict=True)) == {
        "real/a.png": 0, "fake/b.png": 1, "fake/1_fake/real/d.png": 1,
    }  # fmt: skip
    assert lines == ["left out: 1 images that stand outside the layout, such as real/ai/c.png"]


def test_the_wrong_layout_is_told_what_fits(tmp_path):
    wild = ("train/0_real/1.jpg", "val/1_fake/1.webp", "test/reddit/0_real/1.png", "test/facebook/1_fake/1.jpg")
    plant(tmp_path / "wild", *wild, "notes.txt")
    with pytest.raises(InputError) as caught:
        build_manifest(tmp_path / "wild", IndexSettings(layout="genimage"), seed=0)
    said = str(caught.value)
    assert "no image found in layout 'genimage', which looks for <generator>/[<folder of the zip>/]{train,val}" in said
    assert "here are 4 images such as test/facebook/1_fake/1.jpg and 1 other files such as notes.txt" in said
    assert "\n" not in said
    assert said.index("wildrf (100% of the images)") > said.index("would fit")


def test_the_right_layout_on_the_wrong_folder_is_told_where(tmp_path):
    plant(tmp_path / "cifake", "train/REAL/1.jpg", "train/FAKE/1.jpg")
    for folder, layout in (("cifake/train", "cifake"), ("cifake/train", "genimage"), ("", "cifake")):
        with pytest.raises(
            InputError, match=rf"would fit: (realfake[^,]*, )?cifake on {tmp_path}/cifake \(100% of the images\)"
        ):
            build_manifest(tmp_path / folder, IndexSettings(layout=layout), seed=0)
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"here are 0 images and 0 other files; no other layout fits either"):
        build_manifest(empty, IndexSettings(layout="ufd"), seed=0)
