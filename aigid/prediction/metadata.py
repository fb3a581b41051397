"""What an image says of itself: provenance and generator parameters, which anybody can write or strip.

No score has seen any of it, and it has seen no pixel.
"""

import json
import os
import re
import warnings
from datetime import UTC, datetime
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL.ImageFile import ImageFile

from aigid.core.errors import InputError, reason
from aigid.images.formats import format_of

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


def summarize(content: bytes, claims: dict[str, Any]) -> dict[str, Any]:
    """Return what an image says of itself, ``summary`` in words; empty where it says nothing.

    ``claims`` are those of ``container``. ``c2pa``: ``state`` is ``present`` (unchecked), ``absent``, ``invalid``,
    ``valid, signer unknown`` or ``valid, signer on the trust list NAME of DATE``.
    """
    result: dict[str, Any] = {}
    if types := sorted({match.decode() for match in SOURCE_TYPE.findall(content)}):
        result["digital_source_type"] = types
    if b"c2pa" in content and any(mark in content for mark in C2PA):
        result["c2pa"] = _c2pa(content)
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


def _c2pa(content: bytes) -> dict[str, Any]:
    """Return the manifest store's state, checked where the optional package `c2pa-python` is installed.

    A signer is known where its certificate leads to one of the PEM file that ``$AIGID_TRUST_LIST`` names.
    """
    try:
        import c2pa
    except ImportError:
        return {"state": "present", "checked": False, "why": "the extra c2pa checks its signature"}
    path = os.environ.get("AIGID_TRUST_LIST")
    settings, known = _trust_list(path, Path(path).stat().st_mtime_ns) if path else ({}, "")
    try:
        source = f"image/{format_of(content[:1024]).lower()}", BytesIO(content)
        with c2pa.Context.from_dict(settings) as context, c2pa.Reader(*source, context=context) as reader:
            store = json.loads(reader.json())
        active = store.get("manifests", {}).get(store.get("active_manifest"), {})
        programs = active.get("claim_generator_info") or [{"name": active.get("claim_generator") or ""}]
        signer, program = active.get("signature_info", {}).get("issuer", ""), programs[0].get("name", "")
    except Exception as error:
        absent = "ManifestNotFound" in type(error).__name__
        return {"state": "absent" if absent else "invalid", "checked": True, "why": reason(error, MAX_QUOTED_CHARS)}
    state = {"Valid": "valid, signer unknown", "Trusted": known}.get(store.get("validation_state"), "invalid")
    return {"state": state, "checked": True, "signer": signer, "claimed_by": program}


@lru_cache(maxsize=1)
def _trust_list(path: str, changed: int) -> tuple[dict[str, Any], str]:
    """Return c2pa's settings for a PEM file, changed at that time in ns, and the state of what it vouches for."""
    try:
        anchors = Path(path).read_text(encoding="utf-8")
    except ValueError as error:
        raise InputError(f"AIGID_TRUST_LIST={path}: no PEM file: {reason(error)}") from None
    date = datetime.fromtimestamp(changed / 1e9, UTC).date()
    return {"trust": {"trust_anchors": anchors}}, f"valid, signer on the trust list {Path(path).name} of {date}"


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
