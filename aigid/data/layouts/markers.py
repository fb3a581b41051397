"""``0_real`` and ``1_fake``: the folders by which CNNDetection and its heirs name the class."""

from collections.abc import Iterator

from aigid.data.layouts.walk import Tree

MARKERS = {"0_real": 0, "1_fake": 1}


def marked(tree: Tree, *wrappers: str) -> Iterator[tuple[str, list[str], int]]:
    """Each image below a marker: its path, the folders before the marker and the label.

    A first folder that is one of ``wrappers``, the folder that an archive unpacks to, is left out.
    """
    for path in tree.images:
        folders = path.split("/")[:-1]
        for place, folder in enumerate(folders):
            if folder in MARKERS:
                yield path, folders[folders[0] in wrappers : place], MARKERS[folder]
                break
