"""RAID: attacked copies of D3's images, in folders of their budget."""

import re
from collections.abc import Iterator

from aigid.data.layouts import FileTree, ManifestRow, manifest_row

PATTERN = "[RAID/]{original,epsilon<n>}/{real,gen_<i>}/<image>"
BUDGET, CLASS = re.compile(r"original|epsilon\d+"), re.compile(r"real|gen_\d+")


def raid(tree: FileTree) -> Iterator[ManifestRow]:
    """Yield RAID (Eddoubi et al., arXiv 2506.03988): D3's images and their attacked copies, all to test on.

    ``source`` is ``original`` or the budget of PGD on an ensemble of seven detectors, such as ``epsilon32``; an image
    and its attacked copies of one name are one ``group``. The tree is that of github.com/pralab/RAID.
    """
    for path in tree.images:
        match path.split("/"):
            case [*_, budget, folder, name] if BUDGET.fullmatch(budget) and CLASS.fullmatch(folder):
                group = f"{folder}/{name.rpartition('.')[0]}"
                yield manifest_row(path, int(folder != "real"), folder, "test", source=budget, group=group)
