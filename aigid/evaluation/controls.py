"""Negative controls: detectors that must fail. Where one succeeds, the dataset gives the answer away."""

from collections.abc import Mapping

from aigid.evaluation.evaluate import EvaluationResult

CHANCE_CONTROLS = ("control_shuffled", "control_noise", "control_container")  # see labels or pixels that say nothing
SHALLOW = "control_shallow"  # sees cues that have nothing to do with generation
CONTROLS = (*CHANCE_CONTROLS, SHALLOW)
CHANCE = 0.6  # AUROC up to which a blind control passes for chance


def non_controls(judgements: Mapping[str, EvaluationResult]) -> Mapping[str, EvaluationResult]:
    """The detectors that are no controls; all where there is nothing else."""
    return {name: one for name, one in judgements.items() if name not in CONTROLS} or judgements


def warnings(judgements: Mapping[str, EvaluationResult]) -> list[str]:
    """One line per blind control above chance and per detector no better than the shallow cues, on one dataset."""
    auroc = {name: judgement.metrics["auroc"] for name, judgement in judgements.items() if "auroc" in judgement.metrics}
    leaks = [
        f"{name} reaches AUROC {auroc[name]:.3f}, above the {CHANCE} of honest data: something leaks the label"
        for name in CHANCE_CONTROLS
        if auroc.get(name, 0) > CHANCE
    ]
    weak = [
        f"{name} does not beat the shallow cues: AUROC {auroc[name]:.3f} against {auroc[SHALLOW]:.3f}"
        for name in judgements
        if beats_shallow(judgements, name) == "no"
    ]
    return leaks + weak


def beats_shallow(judgements: Mapping[str, EvaluationResult], name: str) -> str:
    """``yes``, ``no``, ``not surely`` where the interval of its AUROC holds that of the shallow cues, or ``-``."""
    found, floor = (judgements[one].metrics.get("auroc") if one in judgements else None for one in (name, SHALLOW))
    if found is None or floor is None or name in CONTROLS:
        return "-"
    table = judgements[name].details
    rows = table[(table["view"] == judgements[name].view) & (table["kind"] == "all")]
    low = rows["auroc_low"].iloc[0] if len(rows) else found
    return "no" if found <= floor else "not surely" if low <= floor else "yes"
