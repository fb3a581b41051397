"""What a layout does not read of a folder; and where it reads nothing, which layout would fit."""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import PurePosixPath
from zlib import crc32

from aigid.base.errors import InputError
from aigid.data.layouts.walk import Layout, Tree

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
    """What fits best: the layout that was asked for on a folder near by, then others here, then others near by."""
    tree = _thin(tree)
    near = list(_nearby(tree))
    others = {other: layout for other, layout in layouts.items() if other != name}
    found = [(name, place, _share(layouts[name], place)) for place in near]
    for places in ([tree], near):
        shares = [(other, place, _share(layout, place)) for place in places for other, layout in others.items()]
        found += sorted(shares, key=lambda fit: -fit[2])
    return [
        other + ("" if place is tree else f" on {place.root}") + f" ({share:.0%} of the images)"
        for other, place, share in found
        if share > 0
    ][:most]


def _share(layout: Layout, tree: Tree) -> float:
    """Of the images, how many the layout reads."""
    images = set(tree.images)
    try:
        return sum(row["path"] in images for row in layout.rows(tree)) / max(len(images), 1)
    except InputError:
        return 0


def _nearby(tree: Tree) -> Iterator[Tree]:
    """The folder above, as far as it leads here, and the folders directly below."""
    root = tree.root.resolve()
    yield Tree(root.parent, *([f"{root.name}/{path}" for path in paths] for paths in tree[1:]))
    starts = {path.partition("/")[0] + "/" for path in chain(tree.images, tree.others) if "/" in path}
    for start in sorted(starts)[:MOST_FOLDERS]:
        below = ([path.removeprefix(start) for path in paths if path.startswith(start)] for paths in tree[1:])
        yield Tree(tree.root / start, *below)


def _thin(tree: Tree) -> Tree:
    """At most about ENOUGH images, those of one stem kept or left together."""
    every = len(tree.images) // ENOUGH + 1
    kept = [path for path in tree.images if every == 1 or crc32(_stem(path).encode(errors="replace")) % every == 0]
    return tree._replace(images=kept)


def _stem(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0]


def _some(paths: list[str], noun: str) -> str:
    return f"{len(paths)} {noun}" + (f" such as {paths[0]}" if paths else "")
