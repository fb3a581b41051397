"""UniversalFakeDetect (Ojha et al., CVPR 2023): ProGAN to train on; 11 test sets of CNNDetection and 8 of diffusion.

``source`` names the reals that a test set is judged with, on its reals and on its fakes: a set of CNNDetection has its
own, ``guided`` has ``imagenet``, the other seven share ``laion`` (``dataset_paths.py`` of the repository). So each
photograph stands once, and the metric of a generator is that of its fakes with the reals of the same source.
The tree is written from the description.
"""

from collections.abc import Iterator

from aigid.data.layouts.markers import marked
from aigid.data.layouts.walk import Row, Tree

TREE = (
    "[datasets/]{train,val}/progan/<class>/{0_real,1_fake}, [datasets/]test/<set>[/<class>]/{0_real,1_fake}, "
    "diffusion_datasets/{imagenet,laion}/0_real and diffusion_datasets/<generator>/1_fake"
)
PROGAN_KIN = ("progan", "cyclegan", "biggan", "stylegan", "gaugan", "stargan", "deepfake", "san", "crn", "imle")
GAN_SETS = dict(zip(PROGAN_KIN, PROGAN_KIN, strict=True)) | {"seeingdark": "sitd", "sitd": "sitd"}
OF_LAION = ("ldm_200", "ldm_200_cfg", "ldm_100", "glide_100_27", "glide_50_27", "glide_100_10", "dalle")
REALS_OF = {"guided": "imagenet"} | dict.fromkeys(OF_LAION, "laion")


def rows(tree: Tree) -> Iterator[Row]:
    """One row an image of the 19 sets, to which stylegan2 and whichfaceisreal of CNNDetection do not belong."""
    for path, folders, label in marked(tree, "datasets"):
        if place := _place(folders, label):
            split, generator, source = place
            yield {
                "path": path,
                "label": label,
                "generator": generator if label else "real",
                "split": split,
                "source": source,
            }


def _place(folders: list[str], label: int) -> tuple[str, str, str] | None:
    """Split, generator of the set's fakes, source of its reals."""
    match folders:
        case [("train" | "val") as split, "progan", *_]:
            return split, "progan", "progan"
        case ["test", name, *_] if name in GAN_SETS:
            return "test", GAN_SETS[name], GAN_SETS[name]
        case ["diffusion_datasets", ("imagenet" | "laion") as source] if label == 0:
            return "test", "", source
        case ["diffusion_datasets", name] if label == 1 and name in REALS_OF:
            return "test", name, REALS_OF[name]
    return None
