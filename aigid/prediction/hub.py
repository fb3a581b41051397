"""Bundles on the Hugging Face hub: pushed with a model card, loaded by ``hf://USER/NAME[@REVISION]``."""

import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from aigid.core.errors import InputError, parse_json, reason
from aigid.core.files import cache_folder, sha256, write_text
from aigid.core.folders import replace_folder
from aigid.detectors import bundle
from aigid.metrics.decisions import EvaluationSettings
from aigid.prediction import verdict

PREFIX, CARD = "hf://", "README.md"
ADDRESS = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
COMMIT = re.compile(r"[0-9a-f]{40}")
TAGS = ["aigid", "ai-generated-image-detection", "image-forensics"]
METRICS = {"auroc": ("roc_auc", "AUROC"), "ap": ("average_precision", "average precision")}  # the hub's names
logger = logging.getLogger(__name__)


def local(source: Path | str) -> Path:
    """Return a bundle's folder as it is; of an address, that of a copy in ``$AIGID_CACHE/hub``, made once a commit.

    A branch or tag that is named must be where it was when it was first loaded: InputError where it has moved.
    """
    if not str(source).startswith(PREFIX):
        return Path(source)
    address = str(source)
    name, revision = parse(address)
    root = cache_folder() / "hub" / name.replace("/", "--")
    if COMMIT.fullmatch(revision) and (root / revision).is_dir():
        return root / revision
    with _errors(address):
        commit = str(_api().model_info(name, revision=revision or None).sha)
    reference = root / "refs" / quote(revision or "default", safe="")
    before = reference.read_text(encoding="utf-8").strip() if reference.is_file() else commit
    if before != commit:
        moved = f"{address}: was at {before} when it was loaded before, and is now at {commit}"
        if revision:
            raise InputError(f"{moved}; to take that, name it: {PREFIX}{name}@{commit}")
        logger.warning("%s", moved)
    if not (root / commit).is_dir():
        _download(address, name, commit, root / commit)
    write_text(reference, commit + "\n")
    return root / commit


def parse(address: str) -> tuple[str, str]:
    """Return repository and revision, which may be empty; InputError where it is no address."""
    match = ADDRESS.fullmatch(address)
    if not match:
        raise InputError(f"{address}: no address of a bundle, hf://USER/NAME or hf://USER/NAME@REVISION")
    return match[1], match[2] or ""


def _download(address: str, name: str, commit: str, folder: Path) -> None:
    """Copy the files that ``model.json`` lists, each checked by its sha256; nothing else is fetched."""
    api = _api()

    def fetch(file: str) -> Path:
        with _errors(address):
            return Path(api.hf_hub_download(name, file, revision=commit))

    path = fetch(bundle.METADATA)
    try:
        files: dict[str, str] = dict(parse_json(path.read_text(encoding="utf-8"))["files"])
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{address}: {bundle.METADATA} is none of a bundle: {error}") from None
    with replace_folder(folder, bundle.is_bundle, "bundle") as part:
        shutil.copyfile(path, part / bundle.METADATA)
        for file, digest in files.items():
            if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
                raise InputError(f"{address}: {file!r} does not lie in the bundle")
            if sha256(path := fetch(file)) != digest:
                raise InputError(f"{address}: {file} is not the file that {bundle.METADATA} names")
            (part / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, part / file)


def push(folder: Path, address: str, body: str = "", licence: str = "other") -> str:
    """Upload a bundle in one commit, with its model card; return the address of that commit."""
    name, revision = parse(address)
    model = bundle.load(folder)
    files = parse_json((folder / bundle.METADATA).read_text(encoding="utf-8"))["files"]
    content = card(model, name, body, licence)
    with _errors(address):
        from huggingface_hub import CommitOperationAdd

        operations = [CommitOperationAdd(file, folder / file) for file in (bundle.METADATA, *files)]
        operations.append(CommitOperationAdd(CARD, content.encode()))
        api = _api()
        api.create_repo(name, exist_ok=True)
        commit = api.create_commit(name, operations, commit_message=model.identity, revision=revision or None)
    return f"{PREFIX}{name}@{commit.oid}"


def card(model: bundle.Bundle, name: str, body: str = "", licence: str = "other") -> str:
    """Return the README: YAML by the hub's schema of model cards, and ``body``, by default what the bundle says."""
    from huggingface_hub import EvalResult, ModelCardData

    from aigid.evaluation.breakdown import threshold_free_metrics
    from aigid.metrics.classification import rank_rows

    dataset = model.origin.training.get("dataset", "")
    values = {} if model.validation is None else threshold_free_metrics(rank_rows(model.validation))
    results = [
        EvalResult("image-classification", dataset, dataset, kind, values[key], "AI-generated image detection",
                   dataset_split="validation", metric_name=f"{title} (validation images)")
        for key, (kind, title) in METRICS.items() if dataset and isinstance(values.get(key), float)
    ]  # fmt: skip
    terms: dict[str, Any] = {"license_name": "see-below", "license_link": CARD} if licence == "other" else {}
    data = ModelCardData(
        license=licence, library_name="aigid", pipeline_tag="image-classification", tags=[*TAGS, model.name],
        datasets=[dataset] if dataset else None, metrics=[result.metric_type for result in results] or None,
        model_name=name.rpartition("/")[2], eval_results=results or None, **terms,
    )  # fmt: skip
    rule = verdict.decision_rule_for(model, EvaluationSettings())
    lines = [*model.origin.licences, *verdict.limitations(model, rule)]
    body = body or f"# {name}\n\nA bundle of aigid, `{model.identity}`.\n\n" + "".join(f"- {line}\n" for line in lines)
    use = f"## Use\n\n```sh\naigid predict photo.jpg --model {PREFIX}{name}\n```\n"
    return f"---\n{data.to_yaml()}\n---\n\n{body.rstrip()}\n\n{use}"


def _api() -> Any:
    from huggingface_hub import HfApi

    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"))


@contextmanager
def _errors(address: str) -> Iterator[None]:
    """Turn what the hub refuses, and a hub that cannot be reached, into one line."""
    from huggingface_hub import errors

    try:
        yield
    except errors.RevisionNotFoundError:
        raise InputError(f"{address}: the repository has no such revision, or no longer") from None
    except errors.RepositoryNotFoundError:
        raise InputError(f"{address}: no such repository, or none that may be read without a token") from None
    except Exception as error:  # httpx and huggingface_hub each raise their own
        raise InputError(f"{address}: {reason(error)}") from None
