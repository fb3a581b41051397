"""Layouts whose folders say what an image is; trees are written from the datasets' descriptions."""

from collections.abc import Iterator

from aigid.core.manifest import SPLITS
from aigid.data.layouts import FileTree, ManifestRow, manifest_row

CLASS_FOLDERS = {"0_real": 0, "1_fake": 1}  # the names of CNNDetection and its heirs
CLASS_WORDS = CLASS_FOLDERS | {"real": 0, "fake": 1, "nature": 0, "ai": 1}  # in any case, for images of one's own
SPLIT_FOLDERS = {"train": "train", "training": "train", "test": "test", "testing": "test"}  # in any case
SPLIT_FOLDERS |= dict.fromkeys(("val", "valid", "validation", "dev", "eval"), "val")
REALFAKE = (
    "[{train,val,test}/][<generator>/]{0_real,1_fake}/[<generator>/]<image>, or {real,fake} or {nature,ai}, or "
    "validation, valid, dev or eval for val, in any case"
)
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
PROGAN_FAMILY = ("progan", "cyclegan", "biggan", "stylegan", "gaugan", "stargan", "deepfake", "san", "crn", "imle")
GAN_SETS = dict(zip(PROGAN_FAMILY, PROGAN_FAMILY, strict=True)) | {"seeingdark": "sitd", "sitd": "sitd"}
DITFAKE_GENERATORS = {
    "FLUX.1-schnell": "flux1_schnell",
    "PixArt-Sigma-XL-2-1024-MS": "pixart_sigma",
    "stable-diffusion-3-medium-diffusers": "sd3_medium",
}
LAION_REALS = ("ldm_200", "ldm_200_cfg", "ldm_100", "glide_100_27", "glide_50_27", "glide_100_10", "dalle")
REALS_BY_GENERATOR = {"guided": "imagenet"} | dict.fromkeys(LAION_REALS, "laion")


EVALGEN_GENERATORS = ("flux", "got", "infinity", "nova", "omnigen")


def genimage(tree: FileTree) -> Iterator[ManifestRow]:
    """Yield GenImage (Zhu et al., NeurIPS 2023): eight generators, each with ImageNet images of its own.

    ``source`` is the generator, on its reals and on its fakes: the paper evaluates a generator's ``ai`` with its own
    ``nature``. Its ``val`` is what papers test on, so here it is the test split.
    """
    for path in tree.images:
        match path.split("/"):
            case [*_, folder, ("train" | "val") as split, ("ai" | "nature") as kind, _] if (
                folder.lower() in GENIMAGE_NAMES
            ):
                generator = GENIMAGE_NAMES[folder.lower()]
                subset = "test" if split == "val" else split
                yield manifest_row(path, int(kind == "ai"), generator, subset, source=generator)


def cifake(tree: FileTree) -> Iterator[ManifestRow]:
    """Yield CIFAKE (Bird and Lotfi, 2023): CIFAR-10 against Stable Diffusion 1.4, 32 px, no val split of its own."""
    for path in tree.images:
        match path.split("/"):
            case [("train" | "test") as split, ("REAL" | "FAKE") as folder, _]:
                label = int(folder == "FAKE")
                yield manifest_row(path, label, "sd14", split, source="" if label else "cifar10")


def drct2m(tree: FileTree) -> Iterator[ManifestRow]:
    """Yield DRCT-2M (Chen et al., ICML 2024): 16 Stable Diffusion models, prompted by or painting over MSCOCO.

    An image and its real image have one file stem and are one ``group``; all models share these reals. ``val2017`` is
    what the paper tests on, so here it is the test split.
    """
    for path in tree.images:
        match path.split("/"):
            case [*_, model, ("train2017" | "val2017") as split, name]:
                subset, group = {"train2017": "train", "val2017": "test"}[split], name.rpartition(".")[0]
                yield manifest_row(path, int(model != "MSCOCO"), model, subset, source="mscoco", group=group)


def synthbuster(tree: FileTree) -> Iterator[ManifestRow]:
    """Yield Synthbuster (Bammey, 2023): nine generators prompted after the images of RAISE-1k, all to test on.

    The tree is that of ClipBased-SyntheticImageDetection. A fake has the name of its real image, so the two are one
    ``group``; all generators share these reals.
    """
    for path in tree.images:
        match path.split("/"):
            case [*_, "real_RAISE_1k", name]:
                generator = "real"
            case [*_, "synthbuster", generator, name]:
                pass
            case _:
                continue
        group = name.rpartition(".")[0]
        yield manifest_row(path, int(generator != "real"), generator, "test", source="raise", group=group)


def iter_class_folders(tree: FileTree, *wrappers: str) -> Iterator[tuple[str, list[str], int]]:
    """Yield each image below a class folder: its path, the folders before that one, and the label.

    A first folder that is one of ``wrappers``, the folder that an archive unpacks to, is left out; a folder of a split
    is called train, val or test.
    """
    for path in tree.images:
        folders = [SPLIT_FOLDERS.get(folder.lower(), folder) for folder in path.split("/")[:-1]]
        for index, folder in enumerate(folders):
            if folder in CLASS_FOLDERS:
                yield path, folders[folders[0] in wrappers : index], CLASS_FOLDERS[folder]
                break


def forensynths(tree: FileTree) -> Iterator[ManifestRow]:
    """Yield ForenSynths, the data of CNNDetection (Wang et al., CVPR 2020): ProGAN to train on, a test set a generator.

    Each set has its own reals: ``source`` is the set.
    """
    for path, folders, label in iter_class_folders(tree, "dataset", "datasets", "CNN_synth_testset"):
        match folders:
            case [("train" | "val") as split, _, *_]:
                yield manifest_row(path, label, "progan", split, source="progan")
            case ["test", name, *_] | [name, *_] if name not in ("train", "val", "test", "diffusion_datasets"):
                yield manifest_row(path, label, name, "test", source=name)


def aigcdetectionbenchmark(tree: FileTree) -> Iterator[ManifestRow]:
    """Yield AIGCDetectionBenchmark (Zhong et al., 2023), 17 test sets in ForenSynths' tree, each with its own reals."""
    wrappers = ("AIGCDetectionBenchmark", "AIGCDetectBenchmark")
    for path, folders, label in iter_class_folders(tree, *wrappers):
        match folders:
            case ["test", name, *_] | [name, *_] if name not in SPLITS:
                yield manifest_row(path, label, name, "test", source=name)


def evalgen(tree: FileTree) -> Iterator[ManifestRow]:
    """Yield EvalGEN (DDA, Chen et al., NeurIPS 2025): images of five generators, all to test on, and no reals.

    As in DDA's evaluation only those whose name ends in ``_0``, one of the twenty of a prompt.
    """
    for path in tree.images:
        names = [folder for folder in path.split("/")[:-1] if folder.lower() in EVALGEN_GENERATORS]
        if names and path.rpartition(".")[0].endswith("_0"):
            yield manifest_row(path, 1, names[0].lower(), "test")


def ufd(tree: FileTree) -> Iterator[ManifestRow]:
    """Yield UniversalFakeDetect (Ojha et al., CVPR 2023): ProGAN to train on, 11 sets of CNNDetection, 8 of diffusion.

    ``source`` names the reals that a test set is evaluated with: a set of CNNDetection has its own, ``guided`` has
    ``imagenet``, the other seven share ``laion`` (``dataset_paths.py`` of the repository). So each real stands once.
    stylegan2 and whichfaceisreal of CNNDetection do not belong to the 19 sets.
    """
    for path, folders, label in iter_class_folders(tree, "datasets"):
        match folders:
            case [("train" | "val") as split, "progan", *_]:
                generator = source = "progan"
            case ["test" as split, name, *_] if name in GAN_SETS:
                generator = source = GAN_SETS[name]
            case ["diffusion_datasets", ("imagenet" | "laion") as source] if label == 0:
                split, generator = "test", ""
            case ["diffusion_datasets", generator] if label == 1 and generator in REALS_BY_GENERATOR:
                split, source = "test", REALS_BY_GENERATOR[generator]
            case _:
                continue
        yield manifest_row(path, label, generator, split, source=source)


def chameleon(tree: FileTree) -> Iterator[ManifestRow]:
    """Yield Chameleon (AIDE, Yan et al., ICLR 2025): one test set of fakes that people took for real images.

    Which generator made a fake is not published.
    """
    for path, folders, label in iter_class_folders(tree, "Chameleon", "chameleon"):
        if folders in ([], ["test"]):
            yield manifest_row(path, label, "chameleon", "test")


def wildrf(tree: FileTree) -> Iterator[ManifestRow]:
    """Yield WildRF (Cavia et al., 2024): real images and fakes as shared on three social networks.

    Who made a fake is not known: its ``generator`` is the network, as is the ``source`` of the reals it is evaluated
    with; train and val name no network.
    """
    for path, folders, label in iter_class_folders(tree, "WildRF"):
        match folders:
            case [("train" | "val") as split]:
                yield manifest_row(path, label, "unknown", split, source="")
            case ["test" as split, ("reddit" | "twitter" | "facebook") as network]:
                yield manifest_row(path, label, network, split, source=network)


def ditfake(tree: FileTree) -> Iterator[ManifestRow]:
    """Yield DiTFake (Li et al., KDD 2025): three diffusion transformers, each with photographs of its own.

    SAFE tests on it, FeatDistill trains on it: its one split, ``test``, is read as train. ``source`` is the generator,
    on its reals and on its fakes.
    """
    for path, folders, label in iter_class_folders(tree, "DiTFake"):
        match folders:
            case ["test", folder] if folder in DITFAKE_GENERATORS:
                generator = DITFAKE_GENERATORS[folder]
                yield manifest_row(path, label, generator, "train", source=generator)


def deepfake60k(tree: FileTree) -> Iterator[ManifestRow]:
    """Yield Deepfake-vs-Real-60K (prithivMLmods, 2025): faces to train on, whose generators are not published."""
    for path in tree.images:
        match path.split("/"):
            case [*_, ("Real" | "Fake") as folder, _]:
                yield manifest_row(path, int(folder == "Fake"), "unknown", "train")


def realfake(tree: FileTree) -> Iterator[ManifestRow]:
    """Yield images with ``0_real`` or ``1_fake``, or else another of ``CLASS_WORDS``, in their path.

    The split is a folder of ``SPLIT_FOLDERS``, else test; the generator (of a real: the source) is the first other
    folder, before or after the class folder, else ``unknown``. A path whose folders name both classes is left out.
    """
    for path in tree.images:
        folders = path.split("/")[:-1]
        words = [folder.lower() for folder in folders]
        known = next((known for known in (CLASS_FOLDERS, CLASS_WORDS) if any(word in known for word in words)), {})
        labels = {known[word] for word in words if word in known}
        if len(labels) != 1:
            continue
        (label,) = labels
        meanings = CLASS_WORDS.keys() | SPLIT_FOLDERS.keys()
        name = next((folder for folder, word in zip(folders, words, strict=True) if word not in meanings), "unknown")
        split = next((SPLIT_FOLDERS[word] for word in words if word in SPLIT_FOLDERS), "test")
        yield manifest_row(path, label, name, split, source="" if label or name == "unknown" else name)


def aligned_pairs(tree: FileTree) -> Iterator[ManifestRow]:
    """Yield real images and their reconstructions (DDA, SEF), matched by stem, to train on; a pair is one ``group``."""
    placed = []
    for path in tree.images:
        match path.rpartition(".")[0].split("/"):
            case [("train" | "val" | "test") as split, ("real" | "fake") as kind, _, *_] as folders:
                placed.append((path, split, kind, "/".join([split, *folders[2:]])))
            case [("real" | "fake") as kind, _, *_] as folders:
                placed.append((path, "train", kind, "/".join(folders[1:])))
    groups = [{group for _, _, kind, group in placed if kind == name} for name in ("real", "fake")]
    paired = set.intersection(*groups)
    for path, split, kind, group in placed:
        if group in paired:
            yield manifest_row(path, int(kind == "fake"), "reconstruction", split, group=group)
