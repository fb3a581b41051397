"""What an image says of itself: provenance and generator parameters, which anybody can write or strip.

No score has seen any of it, and it has seen no pixel.
"""

import json
import re
import warnings
from pathlib import Path
from typing import Any

from aigid.images.errors import ImageError
from aigid.images.formats import format_of, open_lazily, read_bytes

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


def read(path: Path | str) -> dict[str, Any]:
    """What is claimed, by where it stands; ``summary`` in words; empty where an image says nothing.

    ``c2pa``: ``state`` is ``absent`` from the result, ``present`` (unchecked), ``valid`` or ``invalid``.
    """
    try:
        content = read_bytes(path)
    except ImageError:
        return {}
    found: dict[str, Any] = {}
    if types := sorted({match.decode() for match in SOURCE_TYPE.findall(content)}):
        found["digital_source_type"] = types
    if b"c2pa" in content and any(mark in content for mark in C2PA):
        found["c2pa"] = _c2pa(path)
    found |= _container(content)
    return found | {"summary": _summary(found)} if found else {}


def _container(content: bytes) -> dict[str, Any]:
    """EXIF and PNG text, as far as they tell what made the image."""
    found: dict[str, Any] = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_lazily(content, format_of(content[:1024])) as image:
                if image.format == "PNG":
                    image.load()  # text may follow the pixels
                text = {str(key): str(value) for key, value in image.info.items() if isinstance(value, str)}
                exif = dict(image.getexif())
    except Exception:  # broken metadata says nothing
        return found
    named = {
        key: value[:MAX_QUOTED_CHARS] for key, value in text.items() if key in TEXT and _is_generator_tag(key, value)
    }
    if named:
        found["generator_parameters"] = named
    camera = " ".join(str(exif[tag]).strip("\0 ") for tag in CAMERA if tag in exif)
    if camera:
        found["camera"] = camera[:MAX_QUOTED_CHARS]
    told = [str(exif.get(tag, "")) for tag in (SOFTWARE, DESCRIPTION)] + [text.get("Software", "")]
    if software := next((value for value in told if GENERATOR_NAMES.search(value)), ""):
        found["software"] = software[:MAX_QUOTED_CHARS]
    return found


def _is_generator_tag(key: str, value: str) -> bool:
    """``Comment`` and ``prompt`` are words of many uses; a generator's are JSON or hold steps and a seed."""
    return key not in ("Comment", "prompt") or value.lstrip().startswith("{")


def _c2pa(path: Path | str) -> dict[str, Any]:
    """The manifest store's state, if the optional package `c2pa-python` is at hand to check it."""
    try:
        import c2pa
    except ImportError:
        return {"state": "present", "checked": False, "why": "the extra c2pa checks its signature"}
    try:
        with c2pa.Reader(str(path)) as reader:
            store = json.loads(reader.json())
    except Exception as error:
        return {"state": "invalid", "checked": True, "why": " ".join(str(error).split())[:MAX_QUOTED_CHARS]}
    state = str(store.get("validation_state", "")).lower()
    active = store.get("manifests", {}).get(store.get("active_manifest"), {})
    signer = active.get("signature_info", {}).get("issuer", "")
    told = {"state": "valid" if state in ("valid", "trusted") else "invalid", "checked": True}
    return told | {"trusted": state == "trusted", "signer": signer, "claimed_by": active.get("claim_generator", "")}


def _summary(found: dict[str, Any]) -> str:
    lines = []
    if types := found.get("digital_source_type"):
        made = any(it in AI_SOURCE_TYPES for it in types)
        lines.append(f"{'made by an algorithm' if made else 'source'} ({', '.join(types)})")
    if store := found.get("c2pa"):
        lines.append(f"C2PA {store['state']}{'' if store['checked'] else ', unchecked'}")
    if parameters := found.get("generator_parameters"):
        lines.append(f"parameters of {TEXT[next(iter(parameters))]}")
    if "software" in found:
        lines.append(found["software"])
    if "camera" in found:
        lines.append(f"camera {found['camera']}")
    return "; ".join(lines)
