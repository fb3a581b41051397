"""What a layout does not read of a folder; and where it reads nothing, which layout would fit."""

from collections import Counter
from collections.abc import Mapping
from itertools import chain
from pathlib import PurePosixPath
from zlib import crc32

from aigid.data.layouts.walk import Layout, Tree
from aigid.errors import InputError

ENOUGH = 20_000  # images to judge a layout by
MOST_FOLDERS = 32


def explain(name: str, layouts: Mapping[str, Layout], tree: Tree) -> str:
    """One line for the user who named a layout that does not fit."""
    fitting = suggestions(name, layouts, tree)
    advice = f"what would fit: {', '.join(fitting)}" if fitting else "no other layout fits either"
    return (
        f"{tree.root}: no image found in layout {name!r}, which looks for {layouts[name].tree}; "
        f"here are {_some(tree.images, 'images')} and {_some(tree.others, 'other files')}; {advice}"
    )


def left_out(tree: Tree, taken: set[str]) -> str:
    """How many files below the folder are not in the manifest, and of which kind; "" where there are none."""
    images = [path for path in tree.images if path not in taken]
    kinds = Counter(PurePosixPath(path).suffix.lower() or "without suffix" for path in tree.others)
    named = ", ".join(f"{num} {kind}" for kind, num in kinds.most_common(5))
    parts = [
        f"{len(images)} images that stand outside the layout, such as {images[0]}" if images else "",
        f"{len(tree.others)} files that are no images by their names ({named})" if tree.others else "",
        f"{len(tree.closed)} folders that may not be opened, such as {tree.closed[0]}" if tree.closed else "",
    ]
    return "left out: " + "; ".join(filter(None, parts)) if any(parts) else ""


def suggestions(name: str, layouts: Mapping[str, Layout], tree: Tree, most: int = 3) -> list[str]:
    """The layouts that fit best: the one asked for in a folder above or below first, then others here by images."""
    tree = _thin(tree)
    elsewhere = [(near.root, _num_rows(layouts[name], near)) for near in _nearby(tree)]
    found = [f"{name} on {root} ({num} images)" for root, num in elsewhere if num]
    here = [(other, _num_rows(layout, tree)) for other, layout in layouts.items() if other != name]
    ranked = sorted((fit for fit in here if fit[1]), key=lambda fit: -fit[1])
    return [*found, *(f"{other} ({num} images)" for other, num in ranked)][:most]


def _num_rows(layout: Layout, tree: Tree) -> int:
    images = set(tree.images)
    try:
        return sum(row["path"] in images for row in layout.rows(tree))
    except InputError:
        return 0


def _nearby(tree: Tree) -> list[Tree]:
    """The folder above, as far as it leads here, and the folders directly below."""
    root = tree.root.resolve()
    above = Tree(root.parent, *([f"{root.name}/{path}" for path in paths] for paths in tree[1:]))
    names = sorted({path.partition("/")[0] for path in chain(tree.images, tree.others) if "/" in path})
    return [above] + [
        Tree(
            tree.root / name,
            *([path[len(name) + 1 :] for path in paths if path.startswith(f"{name}/")] for paths in tree[1:]),
        )
        for name in names[:MOST_FOLDERS]
    ]


def _thin(tree: Tree) -> Tree:
    """At most about ENOUGH images, those of one stem kept or left together."""
    every = len(tree.images) // ENOUGH + 1
    kept = [path for path in tree.images if every == 1 or crc32(_stem(path).encode(errors="replace")) % every == 0]
    return tree._replace(images=kept)


def _stem(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0]


def _some(paths: list[str], noun: str) -> str:
    return f"{len(paths)} {noun}" + (f" such as {paths[0]}" if paths else "")
