"""From an expert's settings to its folder, and on to the next: stage 1, stage 2, the ensemble."""

from pathlib import Path

import pandas as pd
import torch

from aigid.base.errors import InputError
from aigid.detectors.base.models import Model, load, save
from aigid.detectors.featdistill import expert as experts
from aigid.detectors.featdistill.detector import FeatDistill, Member
from aigid.detectors.featdistill.settings import FeatDistillSettings
from aigid.detectors.featdistill.training import Course, train
from aigid.detectors.training import finetuning, parallel

NAME = "featdistill"


def first(
    settings: FeatDistillSettings, name: str, manifest: pd.DataFrame, root: Path, seed: int, out: Path
) -> pd.DataFrame | None:
    """Stage 1 of an expert: its folder is written; the log, a row an epoch, or None in a process that only helps."""
    course = Course(settings, name, 1, manifest, root, seed)
    with parallel.processes() as device:
        expert = experts.build(settings.experts[name])
        return _taught(course, expert, device, "", out)


def second(
    settings: FeatDistillSettings, name: str, manifest: pd.DataFrame, root: Path, seed: int, start: Path, out: Path
) -> pd.DataFrame | None:
    """Stage 2 of an expert, from the folder of its stage 1; InputError where that was made with other settings."""
    course = Course(settings, name, 2, manifest, root, seed)
    expected = Course(settings, name, 1, manifest, root, seed).fingerprint
    model = load(start)
    if model.name != NAME or list(model.detector.members) != [name]:
        raise InputError(f"{start}: holds {model.name} {', '.join(model.detector.members)}, want the expert {name}")
    if model.fingerprints != [expected]:
        raise InputError(f"{start}: stage 1 was trained with other settings, images or seed than these; train it anew")
    with parallel.processes() as device:
        return _taught(course, model.detector.members[name].load(), device, expected, out)


def _taught(course: Course, expert: experts.Expert, device: torch.device, start: str, out: Path) -> pd.DataFrame | None:
    log, checkpoint = train(course, expert, device, start)
    if parallel.rank():
        return None
    detector = FeatDistill({course.name: Member(course.expert, lambda: expert)}, half=course.stage == 2)
    fingerprint = course.fingerprint if course.stage == 1 else finetuning.checkpoint([course.about, start]).stem
    save(Model(NAME, detector, course.about, [fingerprint]), out)
    checkpoint.unlink(missing_ok=True)
    return pd.DataFrame(log)
