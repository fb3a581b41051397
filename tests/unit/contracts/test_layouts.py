"""What every layout promises: of a tree as its authors write it, with stray files in it, exactly its rows."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from aigid.core import manifest
from aigid.core.errors import InputError
from aigid.data.index import IndexSettings, build_manifest
from aigid.data.layouts.registry import LAYOUTS
from tests.helpers.folders import plant

pytestmark = pytest.mark.usefixtures("cache_outside")
Row = tuple[int, str, str, str]

TABLE = "data/CompEval-00000-of-00002.parquet"
FORENSICS = {  # of rows as the hub's preview prints them; a real's model_name is that of the fakes it is set against
    "image_data": [b"a", b"b", b"c"], "label": [1, 0, 1], "model_name": ["MidjourneyV6_1", "MidjourneyV6_1", "DFGAN"],
    "real_source": ["LAION", "COCO", "N/A"], "architecture": ["Commercial", "Commercial", "GAN"],
}  # fmt: skip

# layout -> {file: (label, generator, split, source or group), None where the layout leaves it out, or a table's text}
TREES: dict[str, dict[str, Row | str | dict[str, list[Any]] | None]] = {
    "community_forensics": {
        TABLE: FORENSICS,
        f"{TABLE}::image_data/000000": (1, "MidjourneyV6_1", "test", ""),
        f"{TABLE}::image_data/000001": (0, "real", "test", "COCO"),
        f"{TABLE}::image_data/000002": (1, "DFGAN", "test", ""),
        "data/other.parquet": {"image": [b"d"], "label": [1]},
        "data/other.parquet::image/000000": None,
    },
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
    "aigcdetectionbenchmark": {
        "AIGCDetectionBenchmark/test/ADM/0_real/1.png": (0, "real", "test", "ADM"),
        "AIGCDetectionBenchmark/test/progan/cat/1_fake/1.png": (1, "progan", "test", "progan"),
        "test/sd_xl/1_fake/1.png": (1, "sd_xl", "test", "sd_xl"),
        "whichfaceisreal/0_real/1.jpeg": (0, "real", "test", "whichfaceisreal"),
        "train/progan/1_fake/1.png": None,
        "0_real/1.png": None,
    },
    "dda_coco": {
        "MSCOCO/val2017/000000000139.jpg": (0, "real", "test", "000000000139"),
        "DDA-COCO/sdxl-vae/val2017/000000000139.jpg": (1, "sdxl-vae", "test", "000000000139"),
        "DDA-COCO/FLUX.1/val2017/000000000285.jpg": (1, "FLUX.1", "test", "000000000285"),
        "DDA-COCO/FLUX.1/000000000285.jpg": None,
    },
    "evalgen": {
        "EvalGEN/Flux/12_0.jpg": (1, "flux", "test", ""),
        "GoT/animals/a_red_fox_0.png": (1, "got", "test", ""),
        "OmniGen/553_0.jpg": (1, "omnigen", "test", ""),
        "EvalGEN/Flux/12_1.jpg": None,
        "EvalGEN/Flux/12_10.jpg": None,
        "EvalGEN/Other/12_0.jpg": None,
    },
    "raid": {
        "RAID/original/real/0.png": (0, "real", "test", "real/0"),
        "RAID/original/gen_0/a.b.jpeg": (1, "gen_0", "test", "gen_0/a.b"),
        "RAID/epsilon32/gen_0/a.b.png": (1, "gen_0", "test", "gen_0/a.b"),
        "epsilon16/gen_3/1.png": (1, "gen_3", "test", "gen_3/1"),
        "RAID/original/1.png": None,
        "RAID/epsilon/gen_0/1.png": None,
        "RAID/original/gen_x/1.png": None,
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
    "ditfake": {
        "DiTFake/test/FLUX.1-schnell/0_real/1.jpg": (0, "real", "train", "flux1_schnell"),
        "DiTFake/test/FLUX.1-schnell/1_fake/1.png": (1, "flux1_schnell", "train", "flux1_schnell"),
        "test/PixArt-Sigma-XL-2-1024-MS/1_fake/1.png": (1, "pixart_sigma", "train", "pixart_sigma"),
        "test/stable-diffusion-3-medium-diffusers/0_real/2.jpg": (0, "real", "train", "sd3_medium"),
        "DiTFake/test/FLUX.1-schnell/1.png": None,
        "DiTFake/overview.png": None,
    },
    "deepfake60k": {
        "Real/1.jpg": (0, "real", "train", ""),
        "Deepfake-vs-Real-60K/Fake/1.png": (1, "unknown", "train", ""),
        "Deepfake-vs-Real-60K/preview/1.png": None,
        "real/1.jpg": None,
    },
    "cifake": {
        "train/REAL/0000 (10).jpg": (0, "real", "train", "cifar10"),
        "test/FAKE/0.jpg": (1, "sd14", "test", ""),
        "test/fake/0.jpg": None,
        "test/FAKE/x/0.jpg": None,
    },
    "bfree_online": {
        "viral_images.csv": "filename,label,source_id,date\nimages/a.jpg,REAL,s1,\nb.jpg,FAKE,s2,\nc.webp,FAKE,s2,\n",
        "notes.csv": "some,other\ntable,1\n",
        "images/a.jpg": (0, "real", "test", "s1"),
        "images/b.jpg": (1, "viral", "test", "s2"),
        "images/c.webp": (1, "viral", "test", "s2"),
        "images/stray.jpg": None,
    },
    "synthwildx": {
        "synthwildx/list.csv": "filename,typ\nreal/1.jpg,real\n2.jpg,dalle3\nfirefly/1.PNG,firefly\n",
        "synthwildx/real/1.jpg": (0, "real", "test", "x"),
        "synthwildx/dalle3/2.jpg": (1, "dalle3", "test", "x"),
        "synthwildx/firefly/1.PNG": (1, "firefly", "test", "x"),
        "synthwildx/stray.jpg": None,
    },
    "ntire_shards": {
        "shard_0/labels.csv": ",image_name,label\n0,k0.jpg,0\n1,k1.jpg,1\n",
        "shard_1/labels.csv": "Label,ID\n0,k0\n1,k1\n",
        "shard_0/images/k0.jpg": (0, "real", "train", ""),
        "shard_0/images/k1.jpg": (1, "unknown", "train", ""),
        "shard_1/images/k0.jpg": (0, "real", "train", ""),
        "shard_1/images/k1.jpg": (1, "unknown", "train", ""),
        "shard_0/images/stray.jpg": None,
    },
    "ntire_test": {
        "val_labels.csv": "image_name,label,is_distorted,distortions,distortion_scales\n"
        "1.jpg,0,0,[],[]\n2.jpg,1,1,\"['jpeg', 'downscale']\",\"[43, 0.5]\"\n",
        "val_hard_labels.csv": ",image_name,label,is_distorted\n0,1,1,True\n1,2,0,False\n",
        "test_labels.csv": "image_name,label,is_distorted,distortions\na.png,1,0,\nb.png,0,1,\"[\"\"clahe\"\"]\"\n",
        "val_images/1.jpg": (0, "real", "test", "val"),
        "val_images/2.jpg": (1, "unknown", "test", "val"),
        "val_images_hard/1.jpg": (1, "unknown", "test", "val_hard"),
        "val_images_hard/2.jpg": (0, "real", "test", "val_hard"),
        "test_images/inner/a.png": (1, "unknown", "test", "test"),
        "test_images/inner/b.png": (0, "real", "test", "test"),
        "test_images/stray.png": None,
    },
    "defactify": {
        "data/train/coco_image/0.png": (0, "real", "train", "train/0"),
        "data/train/dalle_image/0.png": (1, "dalle3", "train", "train/0"),
        "data/test_labels.csv": "Index,Label_A,Label_B\n0,0,0\n1,1.0,5.0\n",
        "data/test/image_0.png": (0, "real", "test", ""),
        "data/test/1.png": (1, "midjourney", "test", ""),
        "data/test/image_2.png": None,
        "data/train/other_image/0.png": None,
    },
    "csv": {
        "labels.csv": "path,label,generator,split,group\na.png,0,,train,g\nb.png,1,sdxl,val,h\n./c.png,fake,,,i\n",
        "a.png": (0, "real", "train", "g"),
        "b.png": (1, "sdxl", "val", "h"),
        "c.png": (1, "unknown", "test", "i"),
        "d.png": None,
    },
    "realfake": {
        "0_real/a.png": (0, "real", "test", ""),
        "1_fake/sdxl/a.png": (1, "sdxl", "test", ""),
        "train/progan/car/0_real/a.b.PNG": (0, "real", "train", "progan"),
        "train/progan/1_fake/a.png": (1, "progan", "train", ""),
        "real/a.png": (0, "real", "test", ""),
        "Validation/AI/a.png": (1, "unknown", "val", ""),
        "other/a.png": None,
    },
}  # fmt: skip


def write(root: Path, layout: str, *labels: int) -> Path:
    """Write a layout's tree, of its images only those of some labels."""
    for path, row in TREES[layout].items():
        if isinstance(row, str):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(row)
        elif isinstance(row, dict):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            parquet.write_table(pa.table(row), root / path)
        elif "::" in path:
            continue
        elif row is None or not labels or row[0] in labels:
            plant(root, path)
    return root


def index(root: Path, layout: str, **settings: object) -> tuple[pd.DataFrame, list[str], list[str]]:
    """Return the manifest, the unreadable paths and what is said of the files that are left out."""
    lines: list[str] = []
    checked = IndexSettings.model_validate({"layout": layout, "val": 0} | settings)
    return (*build_manifest(root, checked, seed=0, log=lines.append), lines)


def test_every_layout_is_tested_here() -> None:
    assert set(TREES) == set(LAYOUTS)
    assert len({layout.pattern for layout in LAYOUTS.values()}) == len(LAYOUTS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_published_tree_gives_exactly_its_rows(tmp_path: Path, layout: str) -> None:
    table, unreadable, lines = index(write(tmp_path, layout), layout)
    column = "group" if "group" in table else "source"
    cells = table.assign(last=table.get(column, ""))[["label", "generator", "split", "last"]]
    rows = dict(zip(table["path"], cells.itertuples(index=False, name=None), strict=True))
    assert rows == {path: row for path, row in TREES[layout].items() if isinstance(row, tuple)}
    assert unreadable == []
    strays = [path for path, row in TREES[layout].items() if row is None and not path.endswith(("txt", "csv"))]
    assert f"left out: {len(strays)} images that stand outside the layout" in lines[0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_manifest_is_valid_and_sorted(tmp_path: Path, layout: str) -> None:
    table, _, _ = index(write(tmp_path / "set", layout), layout, val=0.5)
    manifest.write(table, tmp_path / "m.csv")
    pd.testing.assert_frame_equal(manifest.read(tmp_path / "m.csv"), table, check_dtype=False)
    assert table["path"].is_monotonic_increasing
    assert table["path"].is_unique
    assert set(table["split"]) <= {"train", "val", "test"}
    assert ((table["generator"] == "real") == (table["label"] == 0)).all()
    assert (table["sha256"].str.len() == 64).all()


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name not in ("csv", "realfake", "community_forensics")])
def test_a_published_tree_is_recognized(tmp_path: Path, layout: str) -> None:
    other = "cifake" if layout != "cifake" else "genimage"
    with pytest.raises(InputError, match=rf"what would fit: .*{layout} \("):
        index(write(tmp_path / "set", layout), other)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_without_images_and_one_class_are_refused(tmp_path: Path, layout: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        InputError, match=rf"no image found in layout '{layout}', which looks for .*0 images and 0 other"
    ):
        index(tmp_path / "empty", layout)
    if not LAYOUTS[layout].one_class and not any(isinstance(row, str | dict) for row in TREES[layout].values()):
        refusal = "no image found" if layout == "aligned_pairs" else "one class only: all [0-9]+ images are generated"
        with pytest.raises(InputError, match=refusal):
            index(write(tmp_path / "fakes", layout, 1), layout)
