"""Scores files beside which stands what gave the scores: bundle, code, and the definitions of the views."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from aigid.core import scores
from aigid.degradations.views import to_dict
from aigid.detectors.bundle import Bundle, source_hash
from aigid.detectors.samples import Samples


def versions(model: Bundle, views: Iterable[str], definitions: Mapping[str, object] | None = None) -> dict[str, object]:
    """Return a bundle's identity, the code of its detector, and a digest of each view's definition.

    ``definitions`` are those by which embeddings were computed; of a view without one it is today's.
    """
    known = {view: (definitions or {}).get(view) or to_dict(view) for view in sorted(set(views))}
    texts = {view: json.dumps(definition, sort_keys=True) for view, definition in known.items()}
    digests = {view: hashlib.sha256(text.encode()).hexdigest()[:16] for view, text in texts.items()}
    return {"model": model.identity, "code": source_hash(type(model.detector)), "views": digests}


def write(rows: pd.DataFrame, path: Path, model: Bundle, samples: Samples) -> None:
    """Write the scores of a bundle, and ``<path>.json``, their versions."""
    definitions = samples.files[0][0].attributes.get("views") if samples.files else {}
    scores.write(rows, path)
    scores.write_versions(path, versions(model, rows["view"], definitions))
