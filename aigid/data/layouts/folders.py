"""GenImage (Zhu et al., NeurIPS 2023): eight generators, each with ImageNet photographs of its own.

``source`` is the generator, on its reals and on its fakes: the paper judges a generator's ``ai`` with its own
``nature``. Its ``val`` is what papers test on, so here it is the test split. The tree is
written from the description, with the names of the GenImage and DRCT repositories.
"""

from collections.abc import Iterator

from aigid.core.manifest import SPLITS
from aigid.data.layouts.base import FileTree, ManifestRow

GENIMAGE = "<generator>/[<folder of the zip>/]{train,val}/{ai,nature}/<image>"
GENIMAGE_GENERATORS = {  # official folder and folder in the zip, in lower case
    "adm": ("adm", "imagenet_ai_0508_adm"),
    "biggan": ("biggan", "imagenet_ai_0419_biggan"),
    "glide": ("glide", "imagenet_glide"),
    "midjourney": ("midjourney", "imagenet_midjourney"),
    "sd14": ("stable_diffusion_v_1_4", "imagenet_ai_0419_sdv4"),
    "sd15": ("stable_diffusion_v_1_5", "imagenet_ai_0424_sdv5"),
    "vqdm": ("vqdm", "imagenet_ai_0419_vqdm"),
    "wukong": ("wukong", "imagenet_ai_0424_wukong"),
}
GENIMAGE_NAMES = {folder: generator for generator, folders in GENIMAGE_GENERATORS.items() for folder in folders}
GENIMAGE_SPLITS = {"train": "train", "val": "test"}
GENIMAGE_LABELS = {"nature": 0, "ai": 1}


def genimage(tree: FileTree) -> Iterator[ManifestRow]:
    """One row an image."""
    for path in tree.images:
        match path.split("/"):
            case [*_, folder, ("train" | "val") as split, ("ai" | "nature") as kind, _] if (
                folder.lower() in GENIMAGE_NAMES
            ):
                generator = GENIMAGE_NAMES[folder.lower()]
                yield {
                    "path": path,
                    "label": GENIMAGE_LABELS[kind],
                    "generator": generator if GENIMAGE_LABELS[kind] else "real",
                    "split": GENIMAGE_SPLITS[split],
                    "source": generator,
                }


# CIFAKE (Bird and Lotfi, 2023): CIFAR-10 against Stable Diffusion 1.4, 32 px, no val split of its own.

CIFAKE = "{train,test}/{REAL,FAKE}/<image>"
CIFAKE_LABELS = {"REAL": 0, "FAKE": 1}


def cifake(tree: FileTree) -> Iterator[ManifestRow]:
    """One row an image."""
    for path in tree.images:
        match path.split("/"):
            case [("train" | "test") as split, ("REAL" | "FAKE") as folder, _]:
                label = CIFAKE_LABELS[folder]
                yield {
                    "path": path,
                    "label": label,
                    "generator": "sd14" if label else "real",
                    "split": split,
                    "source": "" if label else "cifar10",
                }


# DRCT-2M (Chen et al., ICML 2024): 16 Stable Diffusion models, each prompted by or painting over MSCOCO photographs.
#
# An image and its photograph have one file stem and are one ``group``. ``val2017`` is what the paper tests on, so here
# it is the test split. The tree is written from the description.

DRCT2M = "<model>/{train2017,val2017}/<COCO id>.png beside MSCOCO/{train2017,val2017}/<COCO id>.jpg"
DRCT2M_REALS = "MSCOCO"
DRCT2M_SPLITS = {"train2017": "train", "val2017": "test"}


def drct2m(tree: FileTree) -> Iterator[ManifestRow]:
    """One row an image; ``source`` is ``mscoco`` throughout, for all models share these reals."""
    for path in tree.images:
        match path.split("/"):
            case [*_, model, ("train2017" | "val2017") as split, name]:
                yield {
                    "path": path,
                    "label": int(model != DRCT2M_REALS),
                    "generator": "real" if model == DRCT2M_REALS else model,
                    "split": DRCT2M_SPLITS[split],
                    "source": "mscoco",
                    "group": name.rpartition(".")[0],
                }


# ``0_real`` and ``1_fake``: the folders by which CNNDetection and its heirs name the class.

CLASS_FOLDERS = {"0_real": 0, "1_fake": 1}


def iter_class_folders(tree: FileTree, *wrappers: str) -> Iterator[tuple[str, list[str], int]]:
    """Each image below a marker: its path, the folders before the marker and the label.

    A first folder that is one of ``wrappers``, the folder that an archive unpacks to, is left out.
    """
    for path in tree.images:
        folders = path.split("/")[:-1]
        for place, folder in enumerate(folders):
            if folder in CLASS_FOLDERS:
                yield path, folders[folders[0] in wrappers : place], CLASS_FOLDERS[folder]
                break


# ForenSynths, the data of CNNDetection (Wang et al., CVPR 2020): ProGAN to train on, one test set a generator.
#
# AIGCDetectBenchmark has the same tree with further sets. Each set has its own reals: ``source`` is the set, on its
# reals and on its fakes. The tree is written from the description.

FORENSYNTHS = "{train,val}/[progan/]<class>/{0_real,1_fake} and [test/]<generator>[/<class>]/{0_real,1_fake}"


def forensynths(tree: FileTree) -> Iterator[ManifestRow]:
    """One row an image."""
    for path, folders, label in iter_class_folders(tree, "dataset", "datasets", "CNN_synth_testset"):
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


# UniversalFakeDetect (Ojha et al., CVPR 2023): ProGAN to train on; 11 test sets of CNNDetection and 8 of diffusion.
#
# ``source`` names the reals that a test set is judged with, on its reals and on its fakes: a set of CNNDetection has
# its own, ``guided`` has ``imagenet``, the other seven share ``laion`` (``dataset_paths.py`` of the repository). So
# each photograph stands once, and the metric of a generator is that of its fakes with the reals of the same source. The
# tree is written from the description.

UFD = (
    "[datasets/]{train,val}/progan/<class>/{0_real,1_fake}, [datasets/]test/<set>[/<class>]/{0_real,1_fake}, "
    "diffusion_datasets/{imagenet,laion}/0_real and diffusion_datasets/<generator>/1_fake"
)
PROGAN_FAMILY = ("progan", "cyclegan", "biggan", "stylegan", "gaugan", "stargan", "deepfake", "san", "crn", "imle")
GAN_SETS = dict(zip(PROGAN_FAMILY, PROGAN_FAMILY, strict=True)) | {"seeingdark": "sitd", "sitd": "sitd"}
LAION_REALS = ("ldm_200", "ldm_200_cfg", "ldm_100", "glide_100_27", "glide_50_27", "glide_100_10", "dalle")
REALS_BY_GENERATOR = {"guided": "imagenet"} | dict.fromkeys(LAION_REALS, "laion")


def ufd(tree: FileTree) -> Iterator[ManifestRow]:
    """One row an image of the 19 sets, to which stylegan2 and whichfaceisreal of CNNDetection do not belong."""
    for path, folders, label in iter_class_folders(tree, "datasets"):
        if place := _split_and_generator(folders, label):
            split, generator, source = place
            yield {
                "path": path,
                "label": label,
                "generator": generator if label else "real",
                "split": split,
                "source": source,
            }


def _split_and_generator(folders: list[str], label: int) -> tuple[str, str, str] | None:
    """Split, generator of the set's fakes, source of its reals."""
    match folders:
        case [("train" | "val") as split, "progan", *_]:
            return split, "progan", "progan"
        case ["test", name, *_] if name in GAN_SETS:
            return "test", GAN_SETS[name], GAN_SETS[name]
        case ["diffusion_datasets", ("imagenet" | "laion") as source] if label == 0:
            return "test", "", source
        case ["diffusion_datasets", name] if label == 1 and name in REALS_BY_GENERATOR:
            return "test", name, REALS_BY_GENERATOR[name]
    return None


# The plainest tree of the field: ``0_real`` or ``1_fake`` anywhere in the path.

REALFAKE = "[{train,val,test}/][<generator>/]{0_real,1_fake}/[<generator>/]<image>"


def realfake(tree: FileTree) -> Iterator[ManifestRow]:
    """One row an image, such as ``train/progan/car/1_fake/a.png``.

    The split is a folder named train, val or test, else test; the generator (of a real: the source) is the first
    other folder, before or after the marker, else ``unknown``.
    """
    for path, _, label in iter_class_folders(tree):
        folders = [folder for folder in path.split("/")[:-1] if folder not in ("0_real", "1_fake")]
        name = next((folder for folder in folders if folder not in SPLITS), "unknown")
        yield {
            "path": path,
            "label": label,
            "generator": name if label else "real",
            "split": next((folder for folder in folders if folder in SPLITS), "test"),
            "source": "" if label or name == "unknown" else name,
        }
