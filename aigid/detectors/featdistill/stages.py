"""From an expert's settings to its folder, and on to the next: stage 1, stage 2, the ensemble."""

from pathlib import Path

import pandas as pd
import torch

from aigid.core.errors import InputError
from aigid.detectors.bundle import Bundle, load, save
from aigid.detectors.featdistill import model as experts
from aigid.detectors.featdistill.detector import EnsembleMember, FeatDistill
from aigid.detectors.featdistill.settings import FeatDistillSettings
from aigid.detectors.featdistill.training import StageRun, train
from aigid.training import distributed, loop

NAME = "featdistill"


def train_stage1(
    settings: FeatDistillSettings, name: str, manifest: pd.DataFrame, root: Path, seed: int, out: Path
) -> pd.DataFrame | None:
    """Stage 1 of an expert: its folder is written; the log, a row an epoch, or None in a process that only helps."""
    course = StageRun(settings, name, 1, manifest, root, seed)
    with distributed.process_group() as device:
        expert = experts.build(settings.experts[name])
        return _train_and_save(course, expert, device, "", out)


def train_stage2(
    settings: FeatDistillSettings, name: str, manifest: pd.DataFrame, root: Path, seed: int, start: Path, out: Path
) -> pd.DataFrame | None:
    """Stage 2 of an expert, from the folder of its stage 1; InputError where that was made with other settings."""
    course = StageRun(settings, name, 2, manifest, root, seed)
    expected = StageRun(settings, name, 1, manifest, root, seed).fingerprint
    model = load(start)
    if model.name != NAME or list(model.detector.members) != [name]:
        raise InputError(f"{start}: holds {model.name} {', '.join(model.detector.members)}, want the expert {name}")
    if model.fingerprints != [expected]:
        raise InputError(f"{start}: stage 1 was trained with other settings, images or seed than these; train it anew")
    with distributed.process_group() as device:
        return _train_and_save(course, model.detector.members[name].load(), device, expected, out)


def _train_and_save(
    course: StageRun, expert: experts.Expert, device: torch.device, start: str, out: Path
) -> pd.DataFrame | None:
    log, checkpoint = train(course, expert, device, start)
    if distributed.rank():
        return None
    detector = FeatDistill({course.name: EnsembleMember(course.expert, lambda: expert)}, half=course.stage == 2)
    fingerprint = course.fingerprint if course.stage == 1 else loop.checkpoint_path([course.about, start]).stem
    save(Bundle(NAME, detector, course.about, [fingerprint]), out)
    checkpoint.unlink(missing_ok=True)
    return pd.DataFrame(log)
