"""FeatDistill's own checkpoints (Tu et al., 2026): a folder of `Expert_{1,2}_clip.pth`, `Expert_{3,4}_siglip.pth`."""

from pathlib import Path

from aigid.core.errors import InputError
from aigid.detectors.bundle import Bundle, Provenance
from aigid.detectors.featdistill.detector import EnsembleMember, FeatDistill, lazy_member
from aigid.detectors.featdistill.settings import ExpertSettings
from aigid.importers import ImportRequest

SOURCE = "FeatDistill, Tu et al. 2026 (arXiv 2603.21939)"
LICENCES = ["experts: as their publisher states", "encoders: OpenAI CLIP, MIT; Google SigLIP, Apache-2.0"]
KINDS = {"siglip": "featdistill_siglip", "clip": "featdistill_clip"}  # the encoders
FILES = {  # in the order in which the published code adds their probabilities
    "siglip_3": "Expert_3_siglip.pth",
    "siglip_4": "Expert_4_siglip.pth",
    "clip_1": "Expert_1_clip.pth",
    "clip_2": "Expert_2_clip.pth",
}


def import_detector(request: ImportRequest) -> Bundle:
    """Return the ensemble of all four; the bundle holds them in float16."""
    if request.weights is None or not request.weights.is_dir():
        raise InputError(f"--weights {request.weights or ''}: name the folder of {', '.join(sorted(FILES.values()))}")
    if request.backbone is not None:
        raise InputError(f"--backbone {request.backbone}: the experts bring their own encoders")
    members = {name: _member(name, request.weights / file) for name, file in FILES.items()}
    return Bundle("featdistill", FeatDistill(members, half=True), {}, [], Provenance(licences=LICENCES, source=SOURCE))


def _member(name: str, file: Path) -> EnsembleMember:
    if not file.is_file():
        raise InputError(f"{file}: no such file; the ensemble has all four experts")
    settings = {"backbone": KINDS[name.partition("_")[0]], "seed": 0}
    return lazy_member(ExpertSettings.model_validate(settings), file)
