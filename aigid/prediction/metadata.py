"""What an image says of itself: provenance and generator parameters, which anybody can write or strip.

No score has seen any of it, and it has seen no pixel.
"""

import json
import re
import warnings
from typing import Any

from PIL.ImageFile import ImageFile

SOURCE_TYPE = re.compile(rb"digitalsourcetype/([A-Za-z]{4,60})")  # IPTC's vocabulary, in XMP or in a C2PA assertion
AI_SOURCE_TYPES = ("trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia", "algorithmicMedia")
C2PA = (b"jumbc2pa", b"c2pa.claim", b"urn:c2pa", b"urn:uuid:c2pa")
TEXT = {  # keys of PNG text under which programs leave what made an image: the program
    "parameters": "Stable Diffusion web UI",
    "prompt": "ComfyUI",
    "workflow": "ComfyUI",
    "sd-metadata": "InvokeAI",
    "invokeai_metadata": "InvokeAI",
    "Dream": "Stable Diffusion",
    "Comment": "NovelAI",
}
GENERATOR_NAMES = re.compile(
    r"midjourney|stable.?diffusion|dall.?e|firefly|imagen|flux|novelai|comfyui|invokeai|openai|gemini|ideogram", re.I
)
CAMERA, SOFTWARE, DESCRIPTION = {0x010F: "make", 0x0110: "model"}, 0x0131, 0x010E
MAX_QUOTED_CHARS = 300  # characters that are quoted


def summarize(content: bytes, path: str, claims: dict[str, Any]) -> dict[str, Any]:
    """Return what an image says of itself, ``summary`` in words; empty where it says nothing.

    ``claims`` are those of ``container``. ``c2pa``: ``state`` is ``present`` (unchecked), ``valid`` or ``invalid``.
    """
    result: dict[str, Any] = {}
    if types := sorted({match.decode() for match in SOURCE_TYPE.findall(content)}):
        result["digital_source_type"] = types
    if b"c2pa" in content and any(mark in content for mark in C2PA):
        result["c2pa"] = _c2pa(path)
    result |= claims
    return result | {"summary": _summary(result)} if result else {}


def container(image: ImageFile) -> dict[str, Any]:
    """Return what EXIF and PNG text of a loaded image say of the program or camera; broken metadata say nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            text = {str(key): str(value) for key, value in image.info.items() if isinstance(value, str)}
            exif = dict(image.getexif())
    except Exception:  # parsers of hostile bytes raise anything
        return {}
    result: dict[str, Any] = {}
    parameters = {key: value for key, value in text.items() if key in TEXT and _is_generator_tag(key, value)}
    if parameters:
        result["generator_parameters"] = {key: value[:MAX_QUOTED_CHARS] for key, value in parameters.items()}
    camera = " ".join(str(exif[tag]).strip("\0 ") for tag in CAMERA if tag in exif)
    if camera:
        result["camera"] = camera[:MAX_QUOTED_CHARS]
    programs = [str(exif.get(tag, "")) for tag in (SOFTWARE, DESCRIPTION)] + [text.get("Software", "")]
    if software := next((value for value in programs if GENERATOR_NAMES.search(value)), ""):
        result["software"] = software[:MAX_QUOTED_CHARS]
    return result


def _is_generator_tag(key: str, value: str) -> bool:
    """Return whether a text is a generator's: ``Comment`` and ``prompt`` have many uses, a generator's are JSON."""
    return key not in ("Comment", "prompt") or value.lstrip().startswith("{")


def _c2pa(path: str) -> dict[str, Any]:
    """Return the manifest store's state, checked where the optional package `c2pa-python` is installed."""
    try:
        import c2pa
    except ImportError:
        return {"state": "present", "checked": False, "why": "the extra c2pa checks its signature"}
    try:
        with c2pa.Reader(path) as reader:
            store = json.loads(reader.json())
    except Exception as error:
        return {"state": "invalid", "checked": True, "why": " ".join(str(error).split())[:MAX_QUOTED_CHARS]}
    state = str(store.get("validation_state", "")).lower()
    active = store.get("manifests", {}).get(store.get("active_manifest"), {})
    signer = active.get("signature_info", {}).get("issuer", "")
    result = {"state": "valid" if state in ("valid", "trusted") else "invalid", "checked": True}
    return result | {"trusted": state == "trusted", "signer": signer, "claimed_by": active.get("claim_generator", "")}


def _summary(claims: dict[str, Any]) -> str:
    lines = []
    if types := claims.get("digital_source_type"):
        generated = any(name in AI_SOURCE_TYPES for name in types)
        lines.append(f"{'made by an algorithm' if generated else 'source'} ({', '.join(types)})")
    if store := claims.get("c2pa"):
        lines.append(f"C2PA {store['state']}{'' if store['checked'] else ', unchecked'}")
    if parameters := claims.get("generator_parameters"):
        lines.append(f"parameters of {TEXT[next(iter(parameters))]}")
    if "software" in claims:
        lines.append(claims["software"])
    if "camera" in claims:
        lines.append(f"camera {claims['camera']}")
    return "; ".join(lines)
