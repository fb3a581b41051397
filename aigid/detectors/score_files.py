"""Scores files beside which stands what gave the scores: bundle, code, and the definitions of the views."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from aigid.core import scores
from aigid.degradations.views import to_dict
from aigid.detectors.bundle import Bundle, source_hash
from aigid.detectors.samples import Samples


def versions(
    identity: str, code: Callable[..., Any], views: Iterable[str], definitions: Mapping[str, object] | None = None
) -> dict[str, object]:
    """Return what gave scores: ``<name>@<digits>``, the code of a detector or a control, a digest of each view.

    ``definitions`` are those by which embeddings were computed; of a view without one it is today's.
    """
    known = {view: (definitions or {}).get(view) or to_dict(view) for view in sorted(set(views))}
    digests = {view: digest(definition) for view, definition in known.items()}
    return {"model": identity, "code": source_hash(code), "views": digests}


def digest(*parts: object) -> str:
    """Return 16 digits that are equal for equal parts."""
    part = parts[0] if len(parts) == 1 else parts
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()[:16]


def write(rows: pd.DataFrame, path: Path, identity: str, code: Callable[..., Any], samples: Samples) -> None:
    """Write the scores of ``identity``, and ``<path>.json``, their versions; ``samples`` are what was scored."""
    definitions = samples.files[0][0].attributes.get("views") if samples.files else {}
    scores.write(rows, path)
    scores.write_versions(path, versions(identity, code, rows["view"], definitions))


def write_of_bundle(rows: pd.DataFrame, path: Path, model: Bundle, samples: Samples) -> None:
    """Write the scores that a bundle gave to samples, and their versions."""
    write(rows, path, model.identity, type(model.detector), samples)
