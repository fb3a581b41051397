"""What SEF must show on the demo, read from a finished `dvc repro`."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aigid.aligned.pairs import LAPLACIAN_RANGE, PSNR_RANGE, laplacian_share
from aigid.core import manifest
from aigid.data.audit.audit import AuditSettings, run_audit

pytestmark = pytest.mark.acceptance
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def auroc():
    return pd.read_csv(ROOT / "results/sef/comparison.csv").set_index(["method", "tested_on"])["auroc"]


def test_sef_stands_in_the_main_table_on_held_out_pairs():
    text = (ROOT / "results/report/table.md").read_text().partition("## SEF on held-out pairs")[2]
    assert "held-out vae" in text
    assert "| gate | " in text


def test_experts_are_best_on_their_own_domains(auroc):
    """Their AUROCs are near 1, on forty photographs: one may be behind by a hundredth, not both."""
    own, other = ([auroc[f"expert {domain}", f"held-out {of}"] for domain, of in pairs] for pairs in (
        [("vae", "vae"), ("gan", "gan")], [("gan", "vae"), ("vae", "gan")]))  # fmt: skip
    assert np.mean(own) > np.mean(other)
    assert (np.array(own) >= np.array(other) - 0.01).all()


@pytest.mark.parametrize("domain", ["vae", "gan"])
def test_the_gate_is_no_worse_than_mixing_and_averaging(auroc, domain):
    simple = max(auroc[method, f"held-out {domain}"] for method in ("naive mix", "mean of the experts' scores"))
    assert auroc["gate", f"held-out {domain}"] >= simple - 0.01


@pytest.mark.parametrize("domain", ["vae", "gan"])
def test_the_aligned_fakes_differ_in_pixels_alone(domain):
    root = ROOT / f"data/aligned/{domain}/pairs"
    records = [json.loads(line) for line in (root / "aligned.jsonl").read_text().splitlines()]
    assert PSNR_RANGE[0] <= np.median([record["psnr"] for record in records]) <= PSNR_RANGE[1]
    share = laplacian_share([record["laplacian"] for record in records])
    assert LAPLACIAN_RANGE[0] <= share <= LAPLACIAN_RANGE[1]
    assert run_audit(manifest.read(root / "manifest.csv"), root, AuditSettings(max_images=10), 0).highest <= 0.55
