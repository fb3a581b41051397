"""Images inside archives, as files of a tree."""

from array import array
from collections.abc import MutableSequence
from typing import NamedTuple

from aigid.core.errors import InputError
from aigid.core.texts import SortedTexts, Texts
from aigid.data.layouts import FileTree, is_image
from aigid.images import MEMBER_SEPARATOR, archives


class Members(NamedTuple):
    """The archives that images of a tree lie in, by the images' numbers, and their ``others``, which are no images."""

    archives: list[str]
    source: MutableSequence[
        int
    ]  # the number of each image's archive, -1 of a plain file; empty where there are no archives
    names: dict[int, str]  # of images that an archive calls otherwise than by their path below its folder
    others: list[str]

    def locate(self, number: int, image: str) -> str:
        """Return the path by which an image of the tree can be read."""
        if number < 0 or not self.archives or self.source[number] < 0:
            return image
        archive = self.archives[self.source[number]]
        return f"{archive}{MEMBER_SEPARATOR}{self.names.get(number) or _member_name(archive, image)}"


def unpack_archives(tree: FileTree, suffixes: tuple[str, ...]) -> tuple[FileTree, Members]:
    """Return the tree with the images inside archives where unpacking would put them, and where each one lies.

    InputError for an archive that cannot be read, or for two images that would be one file.
    """
    images, paths = Texts(), SortedTexts()
    members = Members([path for path in tree.others if path.lower().endswith(suffixes)], array("i"), {}, [])
    for number, path in enumerate(members.archives):
        for name in archives.members(tree.root / path):
            if "\0" in name or (not _is_table(path) and not is_image(tree.root / path, name, MEMBER_SEPARATOR)):
                members.others.append(f"{path}/{name}")
            else:
                image = f"{_folder(path)}/{name.removeprefix('./')}".strip("/")
                paths.add(f"{image}\0{number:09}\0{'' if name == _member_name(path, image) else name}")
    if not members.archives:
        return tree, members
    paths.extend(f"{image}\0\0" for image in tree.images)
    last = ""
    for number, (image, source, name) in enumerate(path.split("\0") for path in paths):
        if image == last:
            archive, first = members.archives[int(source)], members.locate(number - 1, image)
            raise InputError(f"{tree.root / archive}: {name or _member_name(archive, image)!r} also lies at {first}")
        members.source.append(int(source or -1))
        if name:
            members.names[number] = name
        images.append(last := image)
    return tree._replace(images=images), members


def _is_table(archive: str) -> bool:
    """Return whether it is one of perhaps many that hold rows from 0 on, each of which unpacks to its own folder."""
    return archive.lower().endswith(".parquet")


def _folder(archive: str) -> str:
    return archive if _is_table(archive) else archive.rpartition("/")[0]


def _member_name(archive: str, image: str) -> str:
    return image.removeprefix(_folder(archive)).removeprefix("/")


def without_archives(tree: FileTree, members: Members) -> FileTree:
    """Return a tree without the archives that were read, but with their members that are no images."""
    unpacked = {members.archives[number] for number in {*members.source} - {-1}}
    return tree._replace(others=[path for path in tree.others if path not in unpacked] + members.others)
