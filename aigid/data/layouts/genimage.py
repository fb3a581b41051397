"""GenImage (Zhu et al., NeurIPS 2023): eight generators, each with ImageNet photographs of its own.

``source`` is the generator, on its reals and on its fakes: the paper judges a generator's ``ai`` with its own
``nature``. Its ``val`` is what papers test on, so here it is the test split. The tree is
written from the description, with the names of the GenImage and DRCT repositories.
"""

from collections.abc import Iterator

from aigid.data.layouts.walk import Row, Tree

TREE = "<generator>/[<folder of the zip>/]{train,val}/{ai,nature}/<image>"
GENERATORS = {  # official folder and folder in the zip, in lower case
    "adm": ("adm", "imagenet_ai_0508_adm"),
    "biggan": ("biggan", "imagenet_ai_0419_biggan"),
    "glide": ("glide", "imagenet_glide"),
    "midjourney": ("midjourney", "imagenet_midjourney"),
    "sd14": ("stable_diffusion_v_1_4", "imagenet_ai_0419_sdv4"),
    "sd15": ("stable_diffusion_v_1_5", "imagenet_ai_0424_sdv5"),
    "vqdm": ("vqdm", "imagenet_ai_0419_vqdm"),
    "wukong": ("wukong", "imagenet_ai_0424_wukong"),
}
NAMES = {folder: generator for generator, folders in GENERATORS.items() for folder in folders}
SPLITS = {"train": "train", "val": "test"}
LABELS = {"nature": 0, "ai": 1}


def rows(tree: Tree) -> Iterator[Row]:
    """One row an image."""
    for path in tree.images:
        match path.split("/"):
            case [*_, folder, ("train" | "val") as split, ("ai" | "nature") as kind, _] if folder.lower() in NAMES:
                generator = NAMES[folder.lower()]
                yield {
                    "path": path,
                    "label": LABELS[kind],
                    "generator": generator if LABELS[kind] else "real",
                    "split": SPLITS[split],
                    "source": generator,
                }
