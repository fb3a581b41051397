"""The only reader of params.yaml: one section, checked against its model, or one clear line."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from aigid.core.errors import InputError

T = TypeVar("T")

FUSIONS = ("gate", "concatenation", "averaging")
GENDET = ("gendet", "gendet.teacher", "gendet.classifier")
ON_EMBEDDINGS = ("probe", "knn", "svm", "gendet", "occ", *FUSIONS)
ON_IMAGES = ("cnn", "aeroblade", "featdistill")
STAGES = ("stage1", "stage2")
OPTIMIZER = {
    "accumulate": "accumulate_steps",
    "encoder_lr": "encoder_learning_rate",
    "head_lr": "head_learning_rate",
    "warm_up": "warmup_fraction",
}
RENAMED = {  # keys of earlier versions, which are refused; `*` stands for any key, in both names for the same
    "demo.*.min_detail": "demo.*.min_variance",
    "index.*.limit": "index.*.max_images",
    "audit.sample": "audit.max_images",
    "audit.limit": "audit.auroc_threshold",
    "describe.sample": "describe.max_images",
    "crossing.rows": "crossing.max_images",
    "perturbation.sample": "perturbation.max_images",
    "aligned.most": "aligned.max_images",
    **{f"{section}.train": f"{section}.dataset" for section in (*ON_EMBEDDINGS, *ON_IMAGES, "vae", "controls")},
    **{f"{section}.lr": f"{section}.learning_rate" for section in (*FUSIONS, *GENDET, "sef.fusion")},
    "gendet.rotations": "gendet.num_rotations",
    "gendet.optimizer_state": "gendet.optimizer_sharing",
    "gendet.classified_fakes": "gendet.classifier_fakes",
    "svm.sample": "svm.max_images",
    "svm.forward_sample": "svm.selection_sample",
    "cnn.accumulate": "cnn.accumulate_steps",
    "cnn.mirror": "cnn.hflip",
    "cnn.mirror_at_test": "cnn.hflip_tta",
    "occ.context": "occ.n_ctx",
    "occ.shared": "occ.shared_context",
    "occ.names": "occ.class_names",
    "occ.warm_up": "occ.warmup_learning_rate",
    "occ.cosine": "occ.cosine_decay",
    "sef.expert.sampling.most_mixed": "sef.expert.sampling.max_mix",
    "sef.expert.accumulate": "sef.expert.accumulate_steps",
    "sef.expert.period": "sef.expert.t_max",
    "sef.expert.floor": "sef.expert.eta_min",
    "sef.expert.contrastive": "sef.expert.contrastive_weight",
    "sef.expert.checkpointing": "sef.expert.gradient_checkpointing",
    "featdistill.experts.*.checkpointing": "featdistill.experts.*.gradient_checkpointing",
    "featdistill.lessons": "featdistill.data",
    "featdistill.data.rows": "featdistill.data.max_images",
    "featdistill.data.val_rows": "featdistill.data.max_val_images",
    "featdistill.data.long_side": "featdistill.data.max_long_side",
    "featdistill.data.smallest": "featdistill.data.min_area",
    "featdistill.data.mirror": "featdistill.data.hflip",
    **{f"featdistill.{at}.{old}": f"featdistill.{at}.{new}" for at in STAGES for old, new in OPTIMIZER.items()},
    "featdistill.stage2.weight": "featdistill.stage2.distill_weight",
}


class Settings(BaseModel):
    """A section of params.yaml: unknown keys are refused, values are coerced, instances are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def load_section(section: str, model: type[T], path: Path | str = "params.yaml") -> T:
    """The section at a dotted name (``"probe"``, ``"backbones.tiny_clip"``), as an instance of ``model``.

    ``model`` is a ``Settings`` class or any type that pydantic understands, such as ``int`` or ``list[str]``.
    Raises InputError naming the file, the key and the value.
    """
    value = read(Path(path))
    for depth, key in enumerate(section.split("."), start=1):
        if not isinstance(value, dict) or key not in value:
            raise InputError(f"{path}: no section {'.'.join(section.split('.')[:depth])!r}")
        value = value[key]
    return validate(value, model, f"{path}: {section}")


def validate(value: object, model: type[T], name: str) -> T:
    """``value`` as an instance of ``model``, or InputError ``<name>.<key>: <reason>, got <value>``."""
    try:
        return TypeAdapter(model).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join([name, *map(str, first["loc"])])
        got = "" if first["type"] == "missing" else f", got {first['input']!r}"
        raise InputError(f"{key}: {first['msg']}{got}") from None


def read(path: Path) -> dict:
    """Return all sections of a file; InputError where it is missing, no YAML, or has a key of an earlier version."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; `aigid preset demo` writes one") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    for old, new in renamed(document):
        raise InputError(f"{path}: {old} was renamed to {new}")
    return document


def renamed(document: object) -> Iterator[tuple[str, str]]:
    """Yield the old and the new dotted name of each renamed key in ``document``, in the order of ``RENAMED``."""
    for old, new in RENAMED.items():
        for keys in _matches(document, old.split(".")):
            parts = new.split(".")
            yield ".".join(keys), ".".join(keys[i] if part == "*" else part for i, part in enumerate(parts))


def _matches(value: object, pattern: list[str]) -> Iterator[list[str]]:
    """Yield the keys of each entry of nested dicts that a pattern of keys leads to."""
    if not pattern:
        yield []
    elif isinstance(value, dict):
        for key in list(value) if pattern[0] == "*" else [pattern[0]] * (pattern[0] in value):
            yield from ([str(key), *rest] for rest in _matches(value[key], pattern[1:]))
