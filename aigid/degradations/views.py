"""Named views: what is done to an image depends on its content, the view's name and the seed, never on batch order."""

from aigid.core import seeding
from aigid.core.errors import InputError
from aigid.degradations.operators import AppliedOperator, apply_operators
from aigid.degradations.pixels import Pixels
from aigid.degradations.policies import GENIMAGE_SIX, NYCU_AUG_0_TO_7, NYCU_SWEEP, POLICIES, UFD_SWEEP
from aigid.degradations.sampling import Chain, Policy, fixed

CACHE_VERSION = 1  # of the operators' bytes; raise it when any operator gives other bytes than before

VIEWS: dict[str, Policy] = {
    "clean": Chain(),
    # Both classes as 512 px squares through one JPEG encoder: the cure for labels that leak through the file format.
    "normalize512": Chain(((1, ("square", {"side": 512})), (1, ("jpeg", {"quality": 90})))),
    "jpeg96": fixed("jpeg", quality=96),  # DDA's guard against PNG fakes beside JPEG reals
    "jpeg75": fixed("jpeg", quality=75),
    **GENIMAGE_SIX,
    **NYCU_AUG_0_TO_7,
    **NYCU_SWEEP,
    **UFD_SWEEP,
    **POLICIES,  # drawn anew for each image
}

# Views that papers evaluate together.
VIEW_SETS: dict[str, tuple[str, ...]] = {
    "genimage_six": tuple(GENIMAGE_SIX),
    "nycu_eight": tuple(NYCU_AUG_0_TO_7),
    "nycu_sweep": tuple(NYCU_SWEEP),
    "ufd_sweep": tuple(UFD_SWEEP),
}


def get_view(name: str) -> Policy:
    """The policy behind a view; InputError lists the known views."""
    if name not in VIEWS:
        raise InputError(f"unknown view {name!r}; known: {', '.join(VIEWS)}")
    return VIEWS[name]


def sample_view(name: str, sha256: str, seed: int) -> list[AppliedOperator]:
    """What a view does to the image with that content hash: its operators in order, with the parameters drawn."""
    return get_view(name).sample(seeding.numpy_generator("draw", name, seed, sha256))


def apply(name: str, image: Pixels, sha256: str, seed: int) -> tuple[Pixels, list[AppliedOperator]]:
    """The view of an image (H, W, 3) uint8, and what was drawn for it.

    ``sha256`` is the hash of the image's file. Views that resize (``lr112``, ``lr64``, ``crop...``, ``normalize512``)
    return another height and width; ``clean`` returns the image itself.
    """
    drawn = sample_view(name, sha256, seed)
    return apply_operators(drawn, image, seeding.numpy_generator("noise", name, seed, sha256)), drawn


def to_dict(name: str) -> dict:
    """What a view is, as JSON: equal definitions, seeds and hashes give equal bytes (with equal library versions)."""
    return {"view": name, "revision": CACHE_VERSION, "policy": _to_json(get_view(name))}


def _to_json(value: object) -> object:
    if hasattr(value, "_asdict"):
        return {type(value).__name__.lower(): _to_json(value._asdict())}
    if isinstance(value, dict):
        return {key: _to_json(item) for key, item in value.items()}
    return [_to_json(item) for item in value] if isinstance(value, tuple) else value
