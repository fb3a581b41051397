"""ForenSynths, the data of CNNDetection (Wang et al., CVPR 2020): ProGAN to train on, one test set a generator.

AIGCDetectBenchmark has the same tree with further sets. Each set has its own reals: ``source`` is the set, on its reals
and on its fakes. The tree is written from the description.
"""

from collections.abc import Iterator

from aigid.data.layouts.markers import marked
from aigid.data.layouts.walk import Row, Tree

TREE = "{train,val}/[progan/]<class>/{0_real,1_fake} and [test/]<generator>[/<class>]/{0_real,1_fake}"


def rows(tree: Tree) -> Iterator[Row]:
    """One row an image."""
    for path, folders, label in marked(tree, "dataset", "datasets", "CNN_synth_testset"):
        match folders:
            case [("train" | "val") as split, _, *_]:
                name = "progan"
            case ["test", name, *_] | [name, *_] if name not in ("train", "val", "test", "diffusion_datasets"):
                split = "test"
            case _:
                continue
        yield {
            "path": path,
            "label": label,
            "generator": name if label else "real",
            "split": split,
            "source": name,
        }
