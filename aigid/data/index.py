"""From a folder of images to its manifest."""

from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Annotated, Self

import pandas as pd
from pydantic import Field, model_validator

from aigid.core import manifest
from aigid.core.errors import InputError
from aigid.core.params import Settings
from aigid.core.paths import AnyPath
from aigid.core.seeding import derive_seed
from aigid.data.layouts import (
    Layout,
    defactify,
    folders,
    layout_error,
    ntire,
    raid,
    scan,
    tables,
    unmatched_images,
    unpack_archives,
    without_archives,
)
from aigid.images import archives
from aigid.images.hashing import with_hashes

LAYOUTS: dict[str, Layout] = {
    "aigcdetectionbenchmark": Layout(
        "[AIGCDetectionBenchmark/][test/]<generator>[/<class>]/{0_real,1_fake}", folders.aigcdetectionbenchmark
    ),
    "bfree_online": Layout(
        "a .csv with columns filename, label (REAL, FAKE) and source_id, beside the images that it names",
        tables.bfree_online,
    ),
    "chameleon": Layout("[Chameleon/][test/]{0_real,1_fake}/<image>", folders.chameleon),
    "cifake": Layout("{train,test}/{REAL,FAKE}/<image>", folders.cifake),
    "community_forensics": Layout(tables.COMMUNITY_FORENSICS, tables.community_forensics, archives=(".parquet",)),
    "dda_coco": Layout(
        "DDA-COCO/<vae>/val2017/<COCO id>.jpg beside MSCOCO/val2017/<COCO id>.jpg, which are not in it", folders.drct2m
    ),
    "defactify": Layout(defactify.PATTERN, defactify.defactify, archives=(".parquet",)),
    "deepfake60k": Layout("[<folder>/]{Real,Fake}/<image>", folders.deepfake60k),
    "ditfake": Layout(
        "[DiTFake/]test/{FLUX.1-schnell,PixArt-Sigma-XL-2-1024-MS,stable-diffusion-3-medium-diffusers}/{0_real,1_fake}",
        folders.ditfake,
    ),
    "drct2m": Layout(
        "<model>/{train2017,val2017}/<COCO id>.png beside MSCOCO/{train2017,val2017}/<COCO id>.jpg", folders.drct2m
    ),
    "evalgen": Layout(
        "[EvalGEN/]{Flux,GoT,Infinity,NOVA,OmniGen}/<image>_0.<suffix>, the first of each prompt's; no reals",
        folders.evalgen,
        one_class=True,
    ),
    "forensynths": Layout(
        "{train,val}/[progan/]<class>/{0_real,1_fake} and [test/]<generator>[/<class>]/{0_real,1_fake}",
        folders.forensynths,
    ),
    "genimage": Layout("<generator>/[<folder of the zip>/]{train,val}/{ai,nature}/<image>", folders.genimage),
    "ntire_shards": Layout(
        "shard_<i>/images/<name>.jpg beside shard_<i>/labels.csv with columns for the image's name and label (0, 1)",
        ntire.ntire_shards,
    ),
    "ntire_test": Layout(
        "<set>_labels.csv with columns image_name, label, is_distorted, distortions and distortion_scales beside "
        "<set>_images/<image>, such as val, val_hard (in val_images_hard) and test",
        ntire.ntire_test,
    ),
    "raid": Layout(raid.PATTERN, raid.raid),
    "synthbuster": Layout("synthbuster/<generator>/<image> beside real_RAISE_1k/<image>", folders.synthbuster),
    "synthwildx": Layout(
        "[synthwildx/]list.csv with columns filename and typ (real, dalle3, firefly, midjourney) beside its images",
        tables.synthwildx,
    ),
    "ufd": Layout(
        "[datasets/]{train,val}/progan/<class>/{0_real,1_fake}, [datasets/]test/<set>[/<class>]/{0_real,1_fake}, "
        "diffusion_datasets/{imagenet,laion}/0_real and diffusion_datasets/<generator>/1_fake",
        folders.ufd,
    ),
    "wildrf": Layout(
        "[WildRF/]{train,val}/{0_real,1_fake} and [WildRF/]test/{reddit,twitter,facebook}/{0_real,1_fake}",
        folders.wildrf,
    ),
    # and for images of one's own
    "aligned_pairs": Layout(
        "[{train,val,test}/]real/<id>.<suffix> beside [{train,val,test}/]fake/<id>.<suffix>", folders.aligned_pairs
    ),
    "csv": Layout(
        "one .csv or .parquet table with columns path (or filename) and label (or typ), beside the images it names",
        tables.csv_table,
    ),
    "realfake": Layout(folders.REALFAKE, folders.realfake),
}


class IndexSettings(Settings):
    """What of a dataset goes into its manifest.

    A dataset of several has ``parts`` in folders of their names, or links to them, and no settings besides.
    """

    layout: str = ""
    val: Annotated[float, Field(ge=0, lt=1)] = 0.1  # share of train that becomes val where the layout has no val
    test: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of train that becomes test where the layout has no test
    max_images: Annotated[int, Field(ge=1)] | None = None  # of each split and generator (see `index` on reals)
    archives: bool = False  # images are also looked for inside tar, zip and Parquet files
    held_out_generators: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of the named, which go to test alone
    seen: list[str] | None = None  # generators that train and val keep, with their reals; all where it is None
    role: manifest.Role | None = None  # nothing may learn from it; all is test
    parts: dict[str, "IndexSettings"] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_or_several(self) -> Self:
        if self.parts and (others := sorted(self.model_fields_set - {"parts"})):
            raise ValueError(f"parts: each has settings of its own; found {', '.join(others)} beside them")
        if not self.parts and not self.layout:
            raise ValueError("want a layout, or parts")
        return self


def build_manifest(
    root: AnyPath, settings: IndexSettings, seed: int, log: Callable[[str], object] = lambda line: None
) -> tuple[pd.DataFrame, list[str]]:
    """Return the manifest of the images below ``root``, with their sha256, and the paths that could not be read.

    Which images become val, and which a limit keeps, depends only on the seed and on each image's group (or path).
    A limit keeps as many reals of each ``source`` that fakes have too, as they are evaluated with them. ``log`` gets a
    line on what below ``root`` is left out.
    """
    if settings.parts:
        return _build_union(root, settings.parts, seed, log)
    if settings.layout not in LAYOUTS:
        raise InputError(f"unknown layout {settings.layout!r}; known: {', '.join(LAYOUTS)}")
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    layout, tree = LAYOUTS[settings.layout], scan(root)
    archived, others = unpack_archives(tree, archives.SUFFIXES if settings.archives else layout.archives)
    table = pd.DataFrame(layout.iter_rows(tree), dtype=object)
    if table.empty:
        raise InputError(layout_error(settings.layout, LAYOUTS, tree))
    table = manifest.validate(table.fillna(""), str(root)).sort_values("path", ignore_index=True)
    left_out = unmatched_images(without_archives(tree, archived, others), set(table["path"]))
    _refuse_one_class(table, root, layout, left_out)
    if left_out:
        log(left_out)
    if archived:
        table = table.assign(path=table["path"].map(lambda path: archived.get(path, path))).sort_values("path")
    table = _restrict_generators(manifest.with_role(table, settings.role, log), settings.seen, root)
    table = _split_off(table, "test", settings.test, seed)
    table = _hold_out_generators(table, settings.held_out_generators, seed, log)
    table = _split_off(table, "val", settings.val, seed)
    table = _subsample(table, settings.max_images, seed)
    table = manifest.sort_columns(with_hashes(table.reset_index(drop=True), root))
    return table, table["path"][table["sha256"] == ""].tolist()


def _build_union(
    root: AnyPath, parts: Mapping[str, IndexSettings], seed: int, log: Callable[[str], object]
) -> tuple[pd.DataFrame, list[str]]:
    """Return the manifests of several datasets as one, whose paths and groups begin with the part's name."""
    _refuse_one_folder(root, list(parts))
    tables, unreadable = [], []
    for name, settings in parts.items():
        table, failed = build_manifest(root / name, settings, seed, log)
        if "group" in table:
            table["group"] = table["group"].mask(table["group"] != "", f"{name}/" + table["group"])
        tables.append(table.assign(path=f"{name}/" + table["path"]))
        unreadable += [f"{name}/{path}" for path in failed]
    table = pd.concat(tables, ignore_index=True).fillna("").sort_values("path", ignore_index=True)
    labels = table[table["sha256"] != ""].drop_duplicates(["sha256", "label"])
    twice = labels[labels.duplicated("sha256", keep=False)].sort_values("sha256", kind="stable")["path"].tolist()
    if twice:
        raise InputError(f"{root}: one image has two labels: {twice[0]} and {twice[1]}")
    return manifest.validate(table, str(root)), unreadable


def _refuse_one_folder(root: AnyPath, names: list[str]) -> None:
    folders = {name: (root / name).resolve() for name in names} if isinstance(root, Path) else {}
    for (first, path), (second, other) in combinations(folders.items(), 2):
        if path.is_relative_to(other) or other.is_relative_to(path):
            raise InputError(f"{root}: parts {first} and {second} are one folder, {path}: its images would count twice")


def count_images(table: pd.DataFrame) -> str:
    """Return how many images each split has of each generator, a line for each."""
    counts = table.groupby(["split", "generator"], as_index=False).size()
    return "\n".join(f"{row['split']:5} {row['generator']}: {row['size']}" for row in counts.to_dict("records"))


def _refuse_one_class(table: pd.DataFrame, root: AnyPath, layout: Layout, left_out: str) -> None:
    if table["label"].nunique() == 1 and not layout.one_class:
        only = f"one class only: all {len(table)} images are {'generated' if table['label'].iloc[0] else 'real'}"
        lines = filter(None, (only, left_out, f"the layout is {layout.pattern}"))
        raise InputError(f"{root}: {'; '.join(lines)}")


def _restrict_generators(table: pd.DataFrame, seen: list[str] | None, root: AnyPath) -> pd.DataFrame:
    """Return the table without train and val images of other generators, and of the reals of those alone."""
    if seen is None:
        return table
    known = set(table["generator"]) - {"real"}
    if unknown := sorted(set(seen) - known):
        raise InputError(f"{root}: seen: no generator {unknown[0]!r}; found {', '.join(sorted(known))}")
    paired, is_seen = _shared_source(table), table["generator"].isin(seen)
    reals = (table["label"] == 0) & ((paired == "") | paired.isin(set(paired[is_seen])))
    return table[(table["split"] == "test") | is_seen | reals]


def _split_off(table: pd.DataFrame, split: str, share: float, seed: int) -> pd.DataFrame:
    if share == 0 or (table["split"] == split).any():
        return table
    draw = _keys(table).map(lambda key: derive_seed(split, seed, key) / 2**63)
    return table.assign(split=table["split"].mask((table["split"] == "train") & (draw < share), split))


def _hold_out_generators(table: pd.DataFrame, share: float, seed: int, log: Callable[[str], object]) -> pd.DataFrame:
    """Return the table with all images of some generators to test on; as it is where labels name fewer than two."""
    if share == 0:
        return table
    names = sorted(set(table["generator"]) - {"real", "unknown"}, key=lambda name: derive_seed("generator", seed, name))
    if len(names) < 2:
        log("held_out_generators: the labels name fewer than two generators; none is held out")
        return table
    held_out = names[: min(max(round(share * len(names)), 1), len(names) - 1)]
    log(f"held out from training: {', '.join(sorted(held_out))}")
    return table.assign(split=table["split"].mask(table["generator"].isin(held_out), "test"))


def _subsample(table: pd.DataFrame, limit: int | None, seed: int) -> pd.DataFrame:
    if limit is None:
        return table
    order = _keys(table).map(lambda key: derive_seed("limit", seed, key)).sort_values(kind="stable").index
    return table.loc[order].groupby(["split", "generator", _shared_source(table)]).head(limit).sort_values("path")


def _shared_source(table: pd.DataFrame) -> pd.Series:
    """Return the source of each image where fakes and reals share it, else ""."""
    if "source" not in table:
        return pd.Series("", index=table.index)
    return table["source"].where(table["source"].isin(table["source"][table["label"] == 1]), "")


def _keys(table: pd.DataFrame) -> pd.Series:
    """Return what decides over each image: its group or path."""
    return table["group"].where(table["group"] != "", table["path"]) if "group" in table else table["path"]
