"""WildRF (Cavia et al., 2024): photographs and fakes as found on three social networks.

Who made a fake is not known: its ``generator`` is the network, as is the ``source`` of the reals it is judged with.
The tree is written from the description.
"""

from collections.abc import Iterator

from aigid.data.layouts.markers import marked
from aigid.data.layouts.walk import Row, Tree

TREE = "[WildRF/]{train,val}/{0_real,1_fake} and [WildRF/]test/{reddit,twitter,facebook}/{0_real,1_fake}"


def rows(tree: Tree) -> Iterator[Row]:
    """One row an image; of train and val, which name no network, the generator is ``unknown``."""
    for path, folders, label in marked(tree, "WildRF"):
        match folders:
            case [("train" | "val") as split]:
                generator, source = "unknown", ""
            case ["test" as split, ("reddit" | "twitter" | "facebook") as source]:
                generator = source
            case _:
                continue
        yield {
            "path": path,
            "label": label,
            "generator": generator if label else "real",
            "split": split,
            "source": source,
        }
