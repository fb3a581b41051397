"""The second stage's teacher: a frozen copy whose patch tokens are kept (A), or a moving one that is contrasted (B)."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from aigid.detectors.featdistill import losses
from aigid.detectors.featdistill.expert import Answer, Expert
from aigid.detectors.featdistill.settings import DescentSettings, Stage2Settings


@dataclass(frozen=True)
class Teaching:
    """What is trained (``net``), by whom, and what is asked: ``term`` of the student's answer and the teacher's pixels.

    ``after_step`` gets the share of all steps that are done; ``kept`` is what a checkpoint must hold of the teacher.
    """

    net: nn.Module
    teacher: Expert | None = None
    layers: tuple[int, ...] = ()
    sees_the_same: bool = False
    term: Callable[[Answer, Tensor], Tensor] = lambda answer, pixels: answer.logits.sum() * 0
    after_step: Callable[[float], None] = lambda done: None
    kept: Mapping[str, nn.Module] = field(default_factory=dict)


def teaching(expert: Expert, descent: DescentSettings, num_images: int) -> Teaching:
    """The teaching of a stage; the expert as it is now is the teacher."""
    if not isinstance(descent, Stage2Settings) or descent.mode == "none":
        return Teaching(expert)
    teacher = copy.deepcopy(expert).requires_grad_(False).eval()
    return (_held if descent.mode == "l2" else _contrasted)(expert, teacher, descent, num_images)


def _held(expert: Expert, teacher: Expert, how: Stage2Settings, _: int) -> Teaching:
    def term(answer: Answer, pixels: Tensor) -> Tensor:
        with torch.no_grad():
            target = teacher.answer(pixels, how.layers).tokens
        return how.distill_weight * losses.distance(answer.tokens, target)

    return Teaching(expert, teacher, how.layers, how.teacher_view == "same", term)


def _contrasted(expert: Expert, teacher: Expert, how: Stage2Settings, num_images: int) -> Teaching:
    device = next(expert.parameters()).device
    mine = losses.Projection(expert.classifier[0].in_features, how.width).to(device)
    its = copy.deepcopy(mine).requires_grad_(False)
    contrast = losses.Contrast(how.queue, how.width, how.temperature, num_images).to(device)

    def term(answer: Answer, pixels: Tensor) -> Tensor:
        with torch.no_grad():
            target = its(teacher.vision_encoder(pixels))
        loss = contrast(mine(answer.embedding), target)
        contrast.remember(target)
        return how.distill_weight * loss

    def after_step(done: float) -> None:
        share = losses.momentum(done, *how.momentum)
        losses.follow(teacher, expert, share)
        losses.follow(its, mine, share)

    net = nn.ModuleDict({"expert": expert, "projection": mine})
    kept = {"teacher": teacher, "teacher_projection": its, "contrast": contrast}
    return Teaching(net, teacher, (), how.teacher_view == "same", term, after_step, kept)
