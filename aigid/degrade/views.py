"""Named views: what is done to an image depends on its content, the view's name and the seed, never on batch order."""

from aigid.base import seeding
from aigid.base.errors import InputError
from aigid.degrade.draws import Chain, Policy, always
from aigid.degrade.operators import Drawn, run
from aigid.degrade.pixels import Pixels
from aigid.degrade.policies import GENIMAGE_SIX, NYCU_EIGHT, NYCU_SWEEP, POLICIES, UFD_SWEEP

REVISION = 1  # of the operators' bytes; raise it when any operator gives other bytes than before

VIEWS: dict[str, Policy] = {
    "clean": Chain(),
    # Both classes as 512 px squares through one JPEG encoder: the cure for labels that leak through the file format.
    "normalize512": Chain(((1, ("square", {"side": 512})), (1, ("jpeg", {"quality": 90})))),
    "jpeg96": always("jpeg", quality=96),  # DDA's guard against PNG fakes beside JPEG reals
    "jpeg75": always("jpeg", quality=75),
    **GENIMAGE_SIX,
    **NYCU_EIGHT,
    **NYCU_SWEEP,
    **UFD_SWEEP,
    **POLICIES,  # drawn anew for each image
}

# Views that papers evaluate together.
VIEW_SETS: dict[str, tuple[str, ...]] = {
    "genimage_six": tuple(GENIMAGE_SIX),
    "nycu_eight": tuple(NYCU_EIGHT),
    "nycu_sweep": tuple(NYCU_SWEEP),
    "ufd_sweep": tuple(UFD_SWEEP),
}


def view(name: str) -> Policy:
    """The policy behind a view; InputError lists the known views."""
    if name not in VIEWS:
        raise InputError(f"unknown view {name!r}; known: {', '.join(VIEWS)}")
    return VIEWS[name]


def draw(name: str, sha256: str, seed: int) -> list[Drawn]:
    """What a view does to the image with that content hash: its operators in order, with the parameters drawn."""
    return view(name).draw(seeding.generator("draw", name, seed, sha256))


def apply(name: str, image: Pixels, sha256: str, seed: int) -> tuple[Pixels, list[Drawn]]:
    """The view of an image (H, W, 3) uint8, and what was drawn for it.

    ``sha256`` is the hash of the image's file. Views that resize (``lr112``, ``lr64``, ``crop...``, ``normalize512``)
    return another height and width; ``clean`` returns the image itself.
    """
    drawn = draw(name, sha256, seed)
    return run(drawn, image, seeding.generator("noise", name, seed, sha256)), drawn


def definition(name: str) -> dict:
    """What a view is, as JSON: equal definitions, seeds and hashes give equal bytes (with equal library versions)."""
    return {"view": name, "revision": REVISION, "policy": _plain(view(name))}


def _plain(value: object) -> object:
    if hasattr(value, "_asdict"):
        return {type(value).__name__.lower(): _plain(value._asdict())}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
