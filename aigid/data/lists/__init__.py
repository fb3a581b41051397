"""Lists of datasets that are downloaded image by image: where each is published, and its sha256.

A list is a table beside a .yaml of the same name. The table's columns are a manifest's with ``sha256``, the image's as
it must lie on disk, and ``url`` or what fills the ``url`` of the .yaml, such as ``repository`` and ``file``.
"""

import io
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated
from urllib.parse import quote

import pandas as pd
import yaml
from PIL import ImageOps
from pydantic import Field

from aigid.core import manifest, tables
from aigid.core.errors import InputError, reason
from aigid.core.limits import MAX_PIXELS
from aigid.core.params import Settings, validate
from aigid.data.layouts.tables import records
from aigid.data.licences import DATASET_LICENCES
from aigid.images import ImageError, Status, classify_error
from aigid.images.formats import format_of, open_lazily

PLACEHOLDER = re.compile(r"\{(\w+)\}")  # of a column, in an address
LISTS = Path(__file__).parent
STEPS = "for the steps and the layout that reads it see docs/reference/datasets.md"


class Recipe(Settings):
    """What is done with a download: upright by EXIF, RGB, its centre, as JPEG with 4:2:0 chroma and no metadata."""

    crop: Annotated[int, Field(ge=16)]  # px, of the square
    small_crop: Annotated[int, Field(ge=16)]  # px, where the shorter side is under ``crop``
    quality: Annotated[int, Field(ge=1, le=100)]

    def apply(self, content: bytes) -> bytes:
        """Return the image's file; ImageError where it cannot be decoded, or is too small."""
        try:
            with open_lazily(content, format_of(content[:1024])) as file:
                if file.width * file.height > MAX_PIXELS:
                    raise ImageError(Status.TOO_MANY_PIXELS, f"{file.width} x {file.height} px")
                image = ImageOps.exif_transpose(file).convert("RGB")
        except ImageError:
            raise
        except Exception as error:  # parsers of hostile bytes raise anything
            raise classify_error(error) from None
        side = self.crop if min(image.size) >= self.crop else self.small_crop
        left, top = ((length - side) // 2 for length in image.size)
        if min(left, top) < 0:
            raise ImageError(Status.TOO_SMALL, f"{image.width} x {image.height} px for a crop of {side} px")
        buffer = io.BytesIO()
        image.crop((left, top, left + side, top + side)).save(buffer, "JPEG", quality=self.quality, subsampling="4:2:0")
        return buffer.getvalue()


class Source(Settings):
    """A repository of images."""

    revision: str
    licence: str


class ListSettings(Settings):
    """The .yaml of a list."""

    description: str
    licence: str
    not_allowed: str = ""
    url: str = "{url}"  # of an image; names in braces are columns of the table, and ``revision``
    sources: dict[str, Source] = Field(
        default={}
    )  # by the column ``repository``; their licence becomes ``extra_licence``
    recipe: Recipe | None = None  # None: images are kept as they are


@dataclass(frozen=True)
class FetchList:
    """A dataset as its list has it: a manifest, and the address of each of its rows."""

    name: str
    settings: ListSettings
    table: pd.DataFrame
    urls: list[str]


def known_lists() -> dict[str, ListSettings]:
    """Return the lists of the package by name."""
    return {path.stem: _read_settings(path) for path in sorted(LISTS.glob("*.yaml"))}


def describe() -> Iterator[str]:
    """Yield a line for each dataset: those that `aigid fetch` downloads, then those that it does not."""
    lists = known_lists()
    for name, settings in lists.items():
        yield f"{name}: {settings.description}; {settings.licence}; {settings.not_allowed}".rstrip("; ")
    yield f"not fetched, as their publishers hand them out in archives or on request; {STEPS}:"
    yield from (f"{name}: {text}" for name, text in DATASET_LICENCES.items() if name not in lists)


def read_list(name: str) -> FetchList:
    """Return a list by its name or the path of its .yaml.

    Raises:
        InputError: no such list, a table that is no manifest, a row without sha256 or with an address that is not
            http, paths that cannot all be files of one folder.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else LISTS / f"{name}.yaml"
    if not path.is_file():
        if name in DATASET_LICENCES:
            raise InputError(f"{name}: no list, it is had in archives or on request: {DATASET_LICENCES[name]}; {STEPS}")
        lists = ", ".join(known_lists())
        raise InputError(f"no list {name!r}; known: {lists}; or the path of a .yaml; see `aigid fetch`")
    settings, source = _read_settings(path), path.with_suffix(".csv")
    table = tables.read(source, (*manifest.REQUIRED, "sha256"))
    tables.refuse(table, "sha256", table["sha256"] == "", "want the sha256 of the image", str(source))
    if settings.sources:
        if "repository" not in table:
            raise InputError(f"{source}: no column 'repository'; found {', '.join(table.columns)}")
        known = table["repository"].isin(list(settings.sources))
        tables.refuse(table, "repository", ~known, f"{path.name} has no such source", str(source))
        table["extra_licence"] = [settings.sources[name].licence for name in table["repository"]]
    urls = pd.Series([_url(settings, row, source) for row in records(table)])
    tables.refuse(table.assign(url=urls), "url", ~urls.str.match("https?://."), "want http(s)://", str(source))
    columns = {*manifest.REQUIRED, *manifest.OPTIONAL}
    listed = [column for column in map(str, table) if column in columns or column.startswith("extra_")]
    images = manifest.validate(table[listed], str(source))
    _refuse_paths(images, str(source))
    return FetchList(path.stem, settings, images, urls.tolist())


def _refuse_paths(images: pd.DataFrame, name: str) -> None:
    """Raise InputError where two rows would be one file, or a file of the download's own."""
    paths = [PurePosixPath(path) for path in images["path"]]
    folders = {folder for path in paths for folder in path.parents}
    for bad, message in (
        (
            [str(path) != written for path, written in zip(paths, images["path"], strict=True)],
            "want it without . or //",
        ),
        (
            [path.parts[0][0] == "." or str(path) == "manifest.csv" for path in paths],
            "is kept for `aigid fetch` itself",
        ),
        ([path in folders for path in paths], "is also the folder of another row"),
    ):
        tables.refuse(images, "path", pd.Series(bad), message, name)


def _read_settings(path: Path) -> ListSettings:
    try:
        section = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a list: {reason(error)}") from None
    return validate(section, ListSettings, str(path))


def _url(settings: ListSettings, row: Mapping[str, str], source: Path) -> str:
    values = {column: value if column == "url" else quote(os.fsencode(value)) for column, value in row.items()}
    if settings.sources:
        values["revision"] = settings.sources[row["repository"]].revision
    if {*"{}"} & {*PLACEHOLDER.sub("", settings.url)}:
        raise InputError(f"{source}: the address {settings.url!r}: want columns in braces alone")
    try:
        return PLACEHOLDER.sub(lambda column: values[column[1]], settings.url)
    except KeyError as error:
        raise InputError(f"{source}: the address {settings.url!r} wants a column {error}") from None
