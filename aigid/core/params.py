"""Sections of params.yaml, checked against their models."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter, ValidationError, ValidationInfo

from aigid.core.errors import InputError, reason

T = TypeVar("T")
MAX_NAME = 100  # characters
NAME = re.compile(f"[A-Za-z0-9_][A-Za-z0-9_-]{{,{MAX_NAME - 1}}}")  # of a dataset, backbone, view or expert
NAME_RULE = f"a name has letters, digits, - and _ alone, at most {MAX_NAME}, and begins with no -"
# The type in which a network is trained; its weights stay in float32. auto: float16 on CUDA, float32 elsewhere; tf32:
# float32 but for CUDA's products, whose factors are rounded to ten bits.
Precision = Literal["auto", "float32", "tf32", "bfloat16", "float16"]

# Keys of earlier versions, which are refused, as <section>: <old>=<new>...; `*` stands for any key.
RENAMED_KEYS = """
demo.*: min_detail=min_variance
index.*: limit=max_images
audit: sample=max_images limit=auroc_threshold
describe perturbation svm: sample=max_images
crossing: rows=max_images
aligned: most=max_images
probe knn svm gendet occ gate concatenation averaging cnn aeroblade featdistill vae controls: train=dataset
gate concatenation averaging gendet gendet.teacher gendet.classifier sef.fusion: lr=learning_rate
gendet: rotations=num_rotations optimizer_state=optimizer_sharing classified_fakes=classifier_fakes
svm: forward_sample=selection_sample
cnn: mirror=hflip mirror_at_test=hflip_tta
occ: context=n_ctx shared=shared_context names=class_names warm_up=warmup_learning_rate cosine=cosine_decay
sef.expert.sampling: most_mixed=max_mix
sef.expert: period=t_max floor=eta_min contrastive=contrastive_weight
sef.expert featdistill.experts.*: checkpointing=gradient_checkpointing
featdistill: lessons=data
featdistill.data: rows=max_images val_rows=max_val_images long_side=max_long_side smallest=min_area mirror=hflip
featdistill.stage1 featdistill.stage2: encoder_lr=encoder_learning_rate head_lr=head_learning_rate
featdistill.stage1 featdistill.stage2: warm_up=warmup_fraction
featdistill.stage2: weight=distill_weight
"""
RENAMED = {
    f"{section}.{key.partition('=')[0]}": f"{section}.{key.partition('=')[2]}"
    for line in RENAMED_KEYS.strip().splitlines()
    for section in line.partition(": ")[0].split()
    for key in line.partition(": ")[2].split()
}
RENAMED |= {  # in a section that was itself renamed
    old.replace("featdistill.data", "featdistill.lessons"): new
    for old, new in RENAMED.items()
    if old.startswith("featdistill.data.")
}
REMOVED = {  # why a key of an earlier version has none in its place
    f"{section}.{key}": "batch_size counts all of a step, AIGID_BATCH what is computed at once"
    for section in ("cnn", "sef.expert", "featdistill.stage1", "featdistill.stage2")
    for key in ("accumulate", "accumulate_steps")
}


class Settings(BaseModel):
    """A section of params.yaml: unknown keys are refused, values are coerced, instances are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def divides(dividend: str) -> AfterValidator:
    """Return a check that a number, or None, divides another, which must stand before it among the settings."""

    def check(value: int | None, info: ValidationInfo) -> int | None:
        total = info.data.get(dividend)  # absent where it is refused itself
        if value and total and total % value:
            raise ValueError(f"does not divide {dividend}={total}")
        return value

    return AfterValidator(check)


def load_section(section: str, model: type[T], path: Path | str = "params.yaml") -> T:
    """Return the section at a dotted name (``"probe"``, ``"backbones.tiny_clip"``), as an instance of ``model``.

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
    """Return ``value`` as an instance of ``model``, or InputError ``<name>.<key>: <reason>, got <value>``."""
    try:
        return TypeAdapter(model).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join([name, *map(str, first["loc"])])
        if isinstance(cause := first.get("ctx", {}).get("error"), InputError):
            raise InputError(f"{key}: {cause}") from None
        got = "" if first["type"] == "missing" else f", got {first['input']!r}"
        raise InputError(f"{key}: {first['msg']}{got}") from None


def read(path: Path) -> dict[str, Any]:
    """Return all sections of a file; InputError as ``read_any_version``, or naming all keys of earlier versions."""
    document = read_any_version(path)
    removed = [f"{key} is gone: {why}" for key, why in REMOVED.items() for _ in _matches(document, key.split("."))]
    _check_names(document, path)
    _check_roles(document, path)
    if lines := [f"{old} was renamed to {new}" for old, new in renamed(document)] + removed:
        raise InputError(f"{path}: {'; '.join(lines)}")
    return document


def _check_names(document: dict[str, Any], path: Path) -> None:
    """Raise InputError for a name that would mean something to a shell or to dvc.yaml, or a backbone that is not there.

    Names of datasets, backbones and experts stand in commands and paths.
    """
    known = document.get("backbones") or {}
    for key, name in _names(document):
        if not NAME.fullmatch(str(name)):
            raise InputError(f"{path}: {key}: {NAME_RULE}; got {str(name)[:MAX_NAME]!r}")
        is_backbone = key.endswith(".backbone") and (key.count(".") == 1 or key.startswith("attack."))
        if is_backbone and known and name not in known:
            raise InputError(f"{path}: {key}: unknown backbone {name!r}; known: {', '.join(map(str, known))}")


def _names(document: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """Yield the dotted key and the value of each name of a dataset, backbone, view or expert."""
    for pattern in ("demo.*", "index.*", "backbones.*", "featdistill.experts.*", "attack.*"):
        yield from ((".".join(keys)[:MAX_NAME], keys[-1]) for keys in _matches(document, pattern.split(".")))
    for key in ("datasets", "views", "thumbnails"):
        yield from ((key, name) for name in document.get(key) or () if not isinstance(document[key], str))
    for section, values in _sections(document):
        keys = [key for key in ("backbone", "dataset") if isinstance(values.get(key), str)]
        yield from ((f"{section}.{key}", values[key]) for key in keys)


def _sections(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the keys of each section that is a map, and of each below ``attack``."""
    attacks = document.get("attack")
    attacked = attacks.items() if isinstance(attacks, dict) else ()
    for section, values in (*document.items(), *((f"attack.{name}", values) for name, values in attacked)):
        if isinstance(values, dict):
            yield section, values


def _check_roles(document: dict[str, Any], path: Path) -> None:
    """Raise InputError for a section that would learn from a dataset with a role; a perturbation study only scores."""
    index = document.get("index")
    entries = index.items() if isinstance(index, dict) else ()
    roles = {name: entry["role"] for name, entry in entries if isinstance(entry, dict) and entry.get("role")}
    for section, values in _sections(document):
        dataset = values.get("dataset")
        if section != "perturbation" and isinstance(dataset, str) and dataset in roles:
            from aigid.core import manifest  # pandas, for those who need it alone

            raise InputError(f"{path}: {section}.dataset: {dataset!r}: {manifest.refusal(roles[dataset])}")


def read_any_version(path: Path) -> dict[str, Any]:
    """Return all sections of a file, whose keys may be of an earlier version; InputError where it holds none."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; `aigid preset demo` writes one") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not YAML: {reason(error)}") from None
    if not isinstance(document, dict):
        raise InputError(f"{path}: want sections, found {type(document).__name__}")
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


if __name__ == "__main__":  # before `dvc repro`, which names the one key that it misses
    from aigid.core.console import ErrorHandlingCommand

    ErrorHandlingCommand("params", callback=lambda: read(Path("params.yaml")))()
