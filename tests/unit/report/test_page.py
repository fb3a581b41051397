"""The page in a real browser: nothing leaves it, nothing complains, it fits a phone, every image shows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from aigid.core import scores
from aigid.evaluation.evaluate import evaluate, write_result
from aigid.report import report, studies
from tests.helpers import browser


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A report with every kind of table, figure and picture."""
    rng, k = np.random.default_rng(0), np.arange(400)
    for number, detector in enumerate(("probe", "control_shallow", "knn", "control_noise")):
        views = []
        for view in ("clean", "jpeg65", "blur3"):
            part = pd.DataFrame({"path": [f"{i:03}.png" for i in k], "label": k % 2, "view": view})
            part["score"] = np.clip(rng.normal(0.4 + 0.1 * (3 - number) * part["label"], 0.2), 0, 1)
            views.append(part.assign(generator=np.where(k % 2, np.where(k % 3, "gan", "sd14"), "real")))
        frame = pd.concat(views, ignore_index=True)
        frame["split"] = np.where(frame["path"].str[2] < "3", "val", "test")
        frame["source"] = np.where(frame["label"] == 1, "", np.where(frame["path"].str[1] < "5", "phone", "press"))
        frame["size"] = np.where(frame["path"].str[1] < "4", "small", "large")
        write_result(
            evaluate(scores.validate(frame, "made"), n_bootstrap=30, strata=["size"]), tmp_path, detector, "photos"
        )
    (tmp_path / "images").mkdir()
    for i in k[::2]:
        Image.fromarray(rng.integers(0, 256, (40, 200, 3), np.uint8)).save(tmp_path / f"images/{i:03}.png")
    crossed = pd.DataFrame(
        [["all", "gan", 1, 0.9, 0.8, 0.95], ["all", "sd14", 0, 0.7, 0.6, 0.8]], columns=sum(studies.CROSS_GENERATOR, ())
    )
    sections = {"Generators across: probe": studies.cross_generator_section(crossed)}
    images = {"photos": tmp_path / "images"}
    report.write(tmp_path, tmp_path / "report", audit_warnings=["a leak"], sections=sections, images=images)
    return tmp_path / "report/index.html"


def test_what_stands_where(page: Path) -> None:
    text = page.read_text()
    order = [
        "a leak",
        "does not beat the shallow cues",
        "<table>",
        "Every score is",
        "data:image/svg",
        "AUROC per generator",
    ]
    order += ["AUROC by size", "flip between", "Calibration, before", "Operating point", "Abstention"]
    order += ["Most wrongly scored images", "data:image/jpeg", "Generators across", "How this came about", "versions"]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert text.index(">knn<") < text.index(">control_noise<")
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


@pytest.fixture
def program() -> str:
    if (found := browser.find()) is None:
        pytest.skip("no Chromium on this machine; on Debian `apt install chromium` provides it")
    return found


def test_a_browser_finds_nothing_wrong(page: Path, program: str, tmp_path: Path) -> None:
    for width in (360, 1280):
        with browser.Browser(program, tmp_path / f"profile{width}") as opened:
            seen = opened.visit(page, width)
            assert opened.complaints() == []
            assert opened.requests() == [page.as_uri()]
        assert seen["images"] > 8
        assert seen["broken"] == 0
        assert seen["window"] == width
        assert seen["page"] <= width


def test_a_browser_would_find_a_fault(program: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text('<img src="http://127.0.0.1:9/x.png" width=900><script>console.error("oh"); throw 1</script>')
    with browser.Browser(program, tmp_path / "profile") as opened:
        seen = opened.visit(bad, 360)
        assert len(opened.complaints()) >= 2
        assert opened.requests() == [bad.as_uri(), "http://127.0.0.1:9/x.png"]
    assert seen["broken"] == 1
    assert seen["page"] > 360
