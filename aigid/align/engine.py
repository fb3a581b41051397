"""Photographs -> maker -> shelf: each photograph's fake is made, unless the shelf holds it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

from aigid.align import photographs
from aigid.align.domains import AlignSettings
from aigid.align.fakes import Fakes
from aigid.base.files import num_workers
from aigid.base.remote import Place
from aigid.data.reading.errors import ImageError

T = TypeVar("T")
CHUNK = 256  # photographs that are read before the next ones are asked for


def run(fakes: Fakes, _: AlignSettings, root: Place, paths: list[str]) -> dict[str, str]:
    """Have the fakes of all photographs made; path and reason of those that cannot be."""

    def read(path: str) -> photographs.Photograph | ImageError:
        try:
            return photographs.read(root / path, fakes.maker.multiple)
        except ImageError as error:
            return error

    found = zip(paths, ahead(read, paths, fakes.about["domain"]), strict=True)
    unread = {}
    for path, photograph in found:
        if isinstance(photograph, ImageError):
            unread[path] = str(photograph)
        else:
            fakes.want(photograph)
    fakes.finish()
    return unread


def ahead(work: Callable[[object], T], items: list, name: str) -> Iterator[T]:
    """``work`` of each item in order, by threads that are at most ``CHUNK`` items ahead."""
    with (
        ThreadPoolExecutor(num_workers()) as pool,
        tqdm(total=len(items), unit="image", desc=name, disable=None) as bar,
    ):
        for start in range(0, len(items), CHUNK):
            for done in pool.map(work, items[start : start + CHUNK]):
                bar.update()
                yield done
