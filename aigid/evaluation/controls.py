"""Negative controls: detectors that must fail. Where one succeeds, the dataset gives the answer away."""

from collections.abc import Mapping

from aigid.evaluation.judge import Judgement

BLIND = ("control_shuffled", "control_noise", "control_container")  # see labels or pixels that say nothing
SHALLOW = "control_shallow"  # sees cues that have nothing to do with generation
CHANCE = 0.6  # AUROC up to which a blind control passes for chance


def warnings(judgements: Mapping[str, Judgement]) -> list[str]:
    """One line per blind control above chance and per detector no better than the shallow cues, on one dataset."""
    auroc = {name: judgement.metrics["auroc"] for name, judgement in judgements.items() if "auroc" in judgement.metrics}
    leaks = [
        f"{name} reaches AUROC {auroc[name]:.3f}, above the {CHANCE} of honest data: something leaks the label"
        for name in BLIND
        if auroc.get(name, 0) > CHANCE
    ]
    weak = [
        f"{name} does not beat the shallow cues: AUROC {value:.3f} against {auroc[SHALLOW]:.3f}"
        for name, value in auroc.items()
        if SHALLOW in auroc and not name.startswith("control_") and value <= auroc[SHALLOW]
    ]
    return leaks + weak
