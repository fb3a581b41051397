"""Model cards of detectors."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from aigid.core import escape, manifest
from aigid.core.bundle_files import METADATA
from aigid.core.errors import InputError, parse_json
from aigid.core.files import write_text
from aigid.core.tables import pipe_table
from aigid.evaluation.comparison import SHALLOW, Results
from aigid.evaluation.evaluate import Cell, EvaluationResult
from aigid.report import risks, summary_tables

DEMONSTRATION = "> **A demonstration of the pipeline. Not for judging real images.**"


def write(
    results: Mapping[Cell, EvaluationResult],
    models: Path,
    manifests: Path,
    out: Path,
    detectors: Iterable[str],
    datasets: Sequence[str],
) -> None:
    """Write ``<detector>.md`` for each, from its results and its bundle ``models/<detector>``."""
    for name in detectors:
        metadata = read_metadata(models / name)
        path = manifests / f"{metadata['origin']['training']['dataset']}.csv"
        images = training_images(metadata, manifest.read(path)) if path.is_file() else None
        evaluated = {dataset: {key: results[key, dataset] for key in (name, SHALLOW)} for dataset in datasets}
        write_text(out / f"{name}.md", markdown(name, metadata, evaluated, images))


def read_metadata(bundle: Path) -> dict[str, Any]:
    """Return the ``model.json`` of a bundle; InputError where it does not say which images it learnt from."""
    path = bundle / METADATA
    try:
        metadata: dict[str, Any] = parse_json(path.read_text(encoding="utf-8"))
        training, source = metadata["origin"]["training"], metadata["origin"].get("source")
        if training:  # else it is said below
            _components(metadata, None), _reproduction(bundle.name, metadata, "")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: no bundle: {error}") from None
    if not training:
        raise InputError(f"{path}: does not say which images it learnt from; no card of {source}")
    return metadata


def training_images(metadata: Mapping[str, Any], images: pd.DataFrame) -> pd.DataFrame | None:
    """Return the counts by split of each generator, source and licence that a detector learnt from.

    None where a manifest's ``images`` are not those of the bundle's ``metadata``.
    """
    counts = metadata["origin"]["training"]["images"]
    seen = images[images["split"].isin(list(counts))]
    listed = {split: part["generator"].value_counts().to_dict() for split, part in seen.groupby("split")}
    if listed != counts:
        return None
    columns = {"generator": "generator", "source": "source", "extra_licence": "licence"}
    named = seen.rename(columns=columns)[[*(name for old, name in columns.items() if old in seen), "split"]]
    return named.value_counts().unstack("split", fill_value=0)[list(counts)].sort_index().reset_index()


def markdown(
    name: str,
    metadata: Mapping[str, Any],
    evaluated: Mapping[str, Results],
    images: pd.DataFrame | None = None,
    date: str = "",
    edits: pd.DataFrame | None = None,
    attacked: pd.DataFrame | None = None,
) -> str:
    """Return the card of a detector.

    ``metadata`` is its bundle's ``model.json``; ``evaluated`` holds, by dataset, its result and perhaps the shallow
    cues'; ``images`` are its ``training_images``; ``edits`` a table as of ``false_alarms.by_edit``, ``attacked`` as of
    ``attacks.read_attacks``.
    """
    parts = [DEMONSTRATION] if metadata["origin"]["demonstration"] else []
    parts += [f"# Model card: {escape.markdown(name)}", f"aigid {metadata['code']['aigid']}{date and f', {date}'}"]
    parts += _components(metadata, images)
    for dataset, results in evaluated.items():
        parts += [f"## On {escape.markdown(dataset)}", *_metrics(name, results)]
    if edits is not None:
        parts += [f"## {risks.EDITED}", risks.EDIT_NOTES, pipe_table(edits)]
    if attacked is not None:
        parts += [f"## {risks.ATTACKS}", risks.ATTACK_NOTES, pipe_table(attacked)]
    options = [name for name, table in (("--edits", edits), ("--attacks", attacked)) if table is not None]
    return "\n\n".join([*parts, *_reproduction(name, metadata, date, options)]) + "\n"


def _components(metadata: Mapping[str, Any], images: pd.DataFrame | None) -> list[str]:
    origin = metadata["origin"]
    training = origin["training"]
    names = [
        f"{escape.markdown(part['library'])} {escape.markdown_code(part['model'])}"
        + (", random weights" if part["config"] and not part["weights"] else "")
        for backbone in origin["backbones"]
        for part in backbone.get("parts", [backbone])
    ]
    lines = [
        f"- Training data: {escape.markdown_code(training['dataset'])}, manifest sha256 "
        f"{escape.markdown_code(training['manifest_sha256'])}",
        f"- Backbones: {'; '.join(names) or 'none; it sees images'}",
        *(f"- {escape.markdown(licence)}" for licence in origin["licences"]),
    ]
    counts = pd.DataFrame(training["images"]).fillna(0).astype(int).rename_axis("generator").reset_index()
    counts = counts if images is None else images
    settings = json.dumps(metadata["settings"], indent=2)
    return ["## Made of", "\n".join(lines), pipe_table(counts), f"Settings:\n\n```json\n{settings}\n```"]


def _metrics(name: str, results: Results) -> list[str]:
    result = results[name]
    headline = summary_tables.headline_table(results).set_index("detector").loc[name]
    intro = f"View `{result.view}`; {result.run_info['bootstrap draws']} bootstrap draws of whole groups."
    parts = [intro, pipe_table(pd.DataFrame({"metric": headline.index, "value": headline.to_numpy()}))]
    parts += ["### Generators never seen", pipe_table(_unseen(result))]
    if len(table := risks.per_1000(result.metrics)):
        parts += ["### False accusations to expect", risks.RATE_NOTES, pipe_table(table)]
    for table in risks.by_edit({name: result}).values():
        parts += [f"### {risks.EDITED}", risks.EDIT_NOTES, pipe_table(table)]
    for title, make in (("Calibration", summary_tables.calibrations), ("Abstention", summary_tables.abstention_table)):
        if len(table := make({name: result})):
            parts += [f"### {title}", pipe_table(table.drop(columns="detector"))]
    lines = [line.removeprefix(f"{name}: ") for line in summary_tables.warnings(results) if line.startswith(name)]
    lines += [*_worst_groups(result, "generator"), *_worst_groups(result, "source"), *_worst_view(result)]
    worst = summary_tables.worst_errors_table({name: result})
    lines = [escape.markdown(line) for line in lines]
    lines += [
        f"{escape.markdown_code(row['path'])} ({escape.markdown(row['generator'])}) scores {row['score']}"
        for _, row in worst.iterrows()
    ]
    lines = [f"- {line}" for line in lines or ["nothing that these images show"]]
    return [*parts, "### Where it fails", "\n".join(lines)]


def _unseen(result: EvaluationResult) -> pd.DataFrame:
    """Return the ranking metrics on all of test beside those on what is in test alone."""
    rows = pd.concat([result.parts("all"), result.parts("unseen")])
    titles = {"auroc": "AUROC", "tpr_at_fpr1": "TPR @1% FPR", "tpr_at_fpr5": "TPR @5% FPR"}
    cells = [
        {"images": f"{row['name']} in test alone" if row["kind"] == "unseen" else "all of test"}
        | {"reals": row["num_real"], "fakes": row["num_fake"]}
        | {title: summary_tables.with_interval(row, column) for column, title in titles.items()}
        for _, row in rows.iterrows()
    ]
    if len(cells) == 1:
        none = dict.fromkeys(cells[0], summary_tables.NONE)
        cells.append(none | {"images": "in test alone: none that a manifest tells apart"})
    return pd.DataFrame(cells)


def _worst_groups(result: EvaluationResult, kind: str) -> list[str]:
    """Return a line on the worst generator or source of enough images, and how many had too few."""
    ranked, least = summary_tables.worst_groups(result, kind), summary_tables.MIN_IMAGES
    lines = []
    for _, row in ranked.head(1).iterrows():
        value = summary_tables.with_interval(row, "auroc" if kind == "generator" else "fpr_05")
        lines.append(
            f"the generator it sees least: {row['name']}, AUROC {value}, of {row['num_fake']} images"
            if kind == "generator"
            else f"the reals it accuses most: {row['name']}, a share of {value} of {row['num_real']} at 0.5"
        )
    if few := len(parts := result.parts(kind)) - len(ranked):
        lines.append(f"{few} of {len(parts)} {kind}s have under {least} test images, too few to be called the worst")
    return lines


def _worst_view(result: EvaluationResult) -> list[str]:
    table = result.details
    views = table[(table["kind"] == "all") & table["auroc"].notna()].sort_values("auroc")
    if len(views) < 2:
        return []
    return [f"the view that hides most: {views['view'].iloc[0]}, AUROC {views['auroc'].iloc[0]:.3f}"]


def _reproduction(name: str, metadata: Mapping[str, Any], date: str, options: Sequence[str] = ()) -> list[str]:
    code, given = metadata["code"], " and ".join(f"`{option}`" for option in (f"--date {date}", *options))
    lines = [
        f"- `dvc repro evaluate@{name}` at the commit that holds this file",
        *([f"- this card: `aigid card` on the bundle and the results of that, with {given}"] if date else []),
        f"- aigid {code['aigid']}, sources of the detector sha256 `{code['sources_sha256']}`",
        f"- seed {metadata['origin']['seed']}",
        f"- the bundle's sha256 `{metadata['sha256']}`",
    ]
    return ["## How to make it again", "\n".join(lines)]
