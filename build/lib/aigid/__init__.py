"""Detection of AI-generated images: `aigid.load().predict("photo.jpg")`, `aigid.evaluate`, `aigid.audit`."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigid.prediction import DEFAULT_BUNDLE

if TYPE_CHECKING:
    import pandas as pd

    from aigid.data.audit import Audit
    from aigid.evaluation.evaluate import EvaluationResult
    from aigid.prediction.predict import Predictor


def load(folder: Path | str | None = None, **options: Any) -> "Predictor":
    """Return the predictor of a bundle's folder or ``hf://USER/NAME[@REVISION]``, by default the package's own.

    ``options`` are those of `aigid.prediction.predict.open_bundle`.
    """
    predictor: Predictor = import_module("aigid.prediction.predict").open_bundle(folder or DEFAULT_BUNDLE, **options)
    return predictor


def evaluate(
    scores: "Path | str | pd.DataFrame",
    columns: dict[str, str] | None = None,
    by: tuple[str, ...] = (),
    manifest: "Path | str | pd.DataFrame | None" = None,
    seed: int = 0,
    **settings: Any,
) -> "EvaluationResult":
    """Evaluate a scores file, or the rows of one, as `aigid evaluate` does.

    ``columns`` maps our names to another tool's, ``by`` names columns to break scores down by, ``manifest`` tells what
    is in test alone, and ``settings`` are evaluation's: calibrator, fpr, alpha. InputError names row, column and value.
    """
    from aigid.core import manifest as manifests
    from aigid.core import params
    from aigid.core import scores as score_files
    from aigid.evaluation.evaluate import evaluate as evaluate_rows
    from aigid.metrics.decisions import EvaluationSettings

    path_like = (str, Path)
    rows = score_files.read(scores, columns) if isinstance(scores, path_like) else score_files.check(scores, columns)
    images = manifests.read(manifest) if isinstance(manifest, path_like) else manifest
    chosen = params.validate(settings, EvaluationSettings, "aigid.evaluate")
    return evaluate_rows(rows, seed, strata=by, settings=chosen, manifest=images)


def audit(manifest: "Path | str | pd.DataFrame", root: Path | str, seed: int = 0, **settings: Any) -> "Audit":
    """Audit a dataset as `aigid audit` does: do file format, size or metadata give the label away?

    ``root`` is the folder that the manifest's paths start from; ``settings`` are max_images and auroc_threshold.
    """
    from aigid.core import manifest as files
    from aigid.core import params
    from aigid.core.paths import as_path
    from aigid.data.audit.audit import AuditSettings, run_audit

    table = files.read(manifest) if isinstance(manifest, (str, Path)) else files.validate(manifest, "manifest")
    return run_audit(table, as_path(root), params.validate(settings, AuditSettings, "aigid.audit"), seed)
