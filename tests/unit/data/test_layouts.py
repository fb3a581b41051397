"""Each published tree, written as its authors write it and with stray files in it, gives exactly its rows."""

import os

import pytest

from aigid.core.errors import InputError
from aigid.data.index import LAYOUTS, IndexSettings, build_manifest
from aigid.data.layouts import scan
from tests.helpers.folders import plant

# layout -> {file: (label, generator, split, source or group), or None where the layout leaves it out}
TREES = {
    "ufd": {
        "datasets/train/progan/car/0_real/00001.png": (0, "real", "train", "progan"),
        "datasets/train/progan/car/1_fake/00001.png": (1, "progan", "train", "progan"),
        "datasets/val/progan/cat/1_fake/7.png": (1, "progan", "val", "progan"),
        "datasets/test/progan/cat/0_real/7.png": (0, "real", "test", "progan"),
        "datasets/test/cyclegan/horse/1_fake/n02381460_20_fake.png": (1, "cyclegan", "test", "cyclegan"),
        "datasets/test/seeingdark/0_real/a.png": (0, "real", "test", "sitd"),
        "datasets/test/san/1_fake/img.001.PNG": (1, "san", "test", "san"),
        "diffusion_datasets/imagenet/0_real/a.JPEG": (0, "real", "test", "imagenet"),
        "diffusion_datasets/laion/0_real/a.jpg": (0, "real", "test", "laion"),
        "diffusion_datasets/guided/1_fake/a.png": (1, "guided", "test", "imagenet"),
        "diffusion_datasets/ldm_200_cfg/1_fake/a.png": (1, "ldm_200_cfg", "test", "laion"),
        "diffusion_datasets/dalle/1_fake/a.png": (1, "dalle", "test", "laion"),
        "diffusion_datasets/dalle/0_real/a.png": None,
        "diffusion_datasets/laion/1_fake/a.png": None,
        "datasets/test/whichfaceisreal/1_fake/a.png": None,
        "datasets/train/progan/car/a.png": None,
        "datasets/test/progan/cat/0_real/readme.txt": None,
    },
    "forensynths": {
        "train/car/0_real/1.png": (0, "real", "train", "progan"),
        "train/progan/car/1_fake/1.png": (1, "progan", "train", "progan"),
        "val/car/1_fake/1.png": (1, "progan", "val", "progan"),
        "test/stylegan2/church/1_fake/1.png": (1, "stylegan2", "test", "stylegan2"),
        "test/whichfaceisreal/0_real/1.jpeg": (0, "real", "test", "whichfaceisreal"),
        "CNN_synth_testset/crn/1_fake/1.png": (1, "crn", "test", "crn"),
        "test/1_fake/1.png": None,
        "test/stylegan2/church/1.png": None,
        "0_real/1.png": None,
    },
    "genimage": {
        "stable_diffusion_v_1_4/imagenet_ai_0419_sdv4/train/ai/033_sdv4_00134.png": (1, "sd14", "train", "sd14"),
        "stable_diffusion_v_1_4/imagenet_ai_0419_sdv4/train/nature/n01440764_1.JPEG": (0, "real", "train", "sd14"),
        "stable_diffusion_v_1_4/imagenet_ai_0419_sdv4/val/nature/ILSVRC2012_1.JPEG": (0, "real", "test", "sd14"),
        "Midjourney/val/ai/0_midjourney_1.png": (1, "midjourney", "test", "midjourney"),
        "imagenet_glide/val/nature/a.b.JPEG": (0, "real", "test", "glide"),
        "BigGAN/imagenet_ai_0419_biggan/val/ai/1.png": (1, "biggan", "test", "biggan"),
        "BigGAN/imagenet_ai_0419_biggan/val/1.png": None,
        "BigGAN/val/other/1.png": None,
        "unknown_model/val/ai/1.png": None,
    },
    "drct2m": {
        "MSCOCO/train2017/000000000009.jpg": (0, "real", "train", "000000000009"),
        "MSCOCO/val2017/000000000139.jpg": (0, "real", "test", "000000000139"),
        "stable-diffusion-v1-4/val2017/000000000139.png": (1, "stable-diffusion-v1-4", "test", "000000000139"),
        "sdxl-turbo/train2017/000000000009.png": (1, "sdxl-turbo", "train", "000000000009"),
        "sdxl-turbo/000000000009.png": None,
        "sdxl-turbo/test2017/000000000009.png": None,
    },
    "aligned_pairs": {
        "real/0001.jpg": (0, "real", "train", "0001"),
        "fake/0001.png": (1, "reconstruction", "train", "0001"),
        "real/a.b.JPG": (0, "real", "train", "a.b"),
        "fake/a.b.png": (1, "reconstruction", "train", "a.b"),
        "val/real/x/1.png": (0, "real", "val", "val/x/1"),
        "val/fake/x/1.png": (1, "reconstruction", "val", "val/x/1"),
        "real/alone.jpg": None,
        "fake/widow.png": None,
        "0001.png": None,
    },
    "wildrf": {
        "train/0_real/1.jpg": (0, "real", "train", ""),
        "val/1_fake/1.webp": (1, "unknown", "val", ""),
        "test/reddit/0_real/1.png": (0, "real", "test", "reddit"),
        "test/facebook/1_fake/1.jpg": (1, "facebook", "test", "facebook"),
        "test/myspace/1_fake/1.jpg": None,
        "test/1_fake/1.jpg": None,
    },
    "synthbuster": {
        "real_RAISE_1k/r000da54ft.png": (0, "real", "test", "r000da54ft"),
        "synthbuster/stable-diffusion-1-3/r000da54ft.png": (1, "stable-diffusion-1-3", "test", "r000da54ft"),
        "synthbuster/prompts.csv": None,
        "synthbuster/overview.png": None,
    },
    "chameleon": {
        "test/0_real/1.jpg": (0, "real", "test", ""),
        "test/1_fake/sub/1.jpg": (1, "chameleon", "test", ""),
        "test/other/1.jpg": None,
        "test/progan/1_fake/1.jpg": None,
    },
    "cifake": {
        "train/REAL/0000 (10).jpg": (0, "real", "train", "cifar10"),
        "test/FAKE/0.jpg": (1, "sd14", "test", ""),
        "test/fake/0.jpg": None,
        "test/FAKE/x/0.jpg": None,
    },
    "realfake": {
        "0_real/a.png": (0, "real", "test", ""),
        "1_fake/sdxl/a.png": (1, "sdxl", "test", ""),
        "train/progan/1_fake/a.png": (1, "progan", "train", ""),
        "real/a.png": None,
    },
}  # fmt: skip
TREES_OF = {layout: [path for path, row in rows.items() if row] for layout, rows in TREES.items()}


pytestmark = pytest.mark.usefixtures("cache_outside")


@pytest.mark.parametrize("layout", TREES)
def test_a_published_tree(tmp_path, layout):
    expected = TREES[layout]
    lines = []
    table, unreadable = build_manifest(
        plant(tmp_path, *expected), IndexSettings(layout=layout, val=0), seed=0, log=lines.append
    )
    last = "group" if "group" in table else "source"
    cells = table.assign(last=table.get(last, ""))[["label", "generator", "split", "last"]]
    found = dict(zip(table["path"], cells.itertuples(index=False, name=None), strict=True))
    assert found == {path: row for path, row in expected.items() if row}
    assert unreadable == []
    strays = [path for path, row in expected.items() if row is None and path.rpartition(".")[2] not in ("txt", "csv")]
    assert f"left out: {len(strays)} images that stand outside the layout" in lines[0]


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
    assert tree.others == ["._a.jpg", ".png", "c.jpg.txt", "png"]


def test_the_wrong_layout_is_told_what_fits(tmp_path):
    plant(tmp_path / "wild", *TREES_OF["wildrf"], "notes.txt")
    with pytest.raises(InputError) as caught:
        build_manifest(tmp_path / "wild", IndexSettings(layout="genimage"), seed=0)
    said = str(caught.value)
    assert "no image found in layout 'genimage', which looks for <generator>/[<folder of the zip>/]{train,val}" in said
    assert "here are 4 images such as test/facebook/1_fake/1.jpg and 1 other files such as notes.txt" in said
    assert "\n" not in said
    assert said.index("wildrf (100% of the images)") > said.index("would fit")


@pytest.mark.parametrize("layout", [name for name in TREES if name != "realfake"])
def test_every_published_tree_is_recognised(tmp_path, layout):
    plant(tmp_path / "set", *TREES_OF[layout])
    with pytest.raises(InputError, match=rf"what would fit: .*{layout} \("):
        build_manifest(tmp_path / "set", IndexSettings(layout="csv"), seed=0)


def test_the_right_layout_on_the_wrong_folder_is_told_where(tmp_path):
    plant(tmp_path / "cifake", "train/REAL/1.jpg", "train/FAKE/1.jpg")
    with pytest.raises(InputError, match=rf"would fit: cifake on {tmp_path}/cifake \(100% of the images\)"):
        build_manifest(tmp_path / "cifake/train", IndexSettings(layout="cifake"), seed=0)
    with pytest.raises(InputError, match=rf"would fit: cifake on {tmp_path}/cifake \(100% of the images\)"):
        build_manifest(tmp_path / "cifake/train", IndexSettings(layout="genimage"), seed=0)
    with pytest.raises(InputError, match=rf"would fit: cifake on {tmp_path}/cifake \(100% of the images\)"):
        build_manifest(tmp_path, IndexSettings(layout="cifake"), seed=0)
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"here are 0 images and 0 other files; no other layout fits either"):
        build_manifest(empty, IndexSettings(layout="ufd"), seed=0)


def test_each_layout_says_its_tree():
    assert len({layout.pattern for layout in LAYOUTS.values()}) == len(LAYOUTS) == 15
