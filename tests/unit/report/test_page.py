"""The report's page: what stands where, and in a browser sorting, filter, switches, hover, print, no scripts."""

import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from aigid.core import scores
from aigid.evaluation.comparison import CONTROLS
from aigid.evaluation.evaluate import evaluate, read_results, write_result
from aigid.report import charts, report, studies, summary_tables
from tests.helpers.browser import launched, opened, watched

DETECTORS = ("probe", "control_shallow", "knn", "control_noise", "<b>x")
HEAT = "section:not([hidden]) .view:not([hidden]) table >> nth=0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A report with every kind of table, chart and picture."""
    root, rng, k = tmp_path_factory.mktemp("page"), np.random.default_rng(0), np.arange(200)
    for number, detector in enumerate(DETECTORS):
        views = []
        for view in ("clean", "jpeg65", "blur3"):
            part = pd.DataFrame({"path": [f"{i:03}.png" for i in k], "label": k % 2, "view": view})
            part["score"] = np.clip(rng.normal(0.4 + 0.1 * (3 - number) * part["label"], 0.2), 0, 1)
            views.append(part.assign(generator=np.where(k % 2, np.where(k % 3, "gan", "sd14"), "real")))
        frame = pd.concat(views, ignore_index=True)
        frame["split"] = np.where(frame["path"].str[2] < "3", "val", "test")
        frame["source"] = np.where(frame["label"] == 1, "", np.where(frame["path"].str[1] < "5", "phone", "press"))
        frame["size"] = np.where(frame["path"].str[1] < "4", "small", "large")
        result = evaluate(scores.validate(frame, "made"), n_bootstrap=5, strata=["size"])
        for dataset in ("photos", "second") if number else ("photos",):
            write_result(result, root, detector, dataset)
    (root / "images").mkdir()
    for i in k[::2]:
        Image.fromarray(rng.integers(0, 256, (40, 200, 3), np.uint8)).save(root / f"images/{i:03}.png")
    crossed = pd.DataFrame(
        [["all", "gan", 1, 0.9, 0.8, 0.95], ["all", "sd14", 0, 0.7, 0.6, 0.8]], columns=sum(studies.CROSS_GENERATOR, ())
    )
    sections = {"Generators across: probe": studies.cross_generator_section(crossed)}
    images = {"photos": root / "images"}
    report.write(read_results(root), root / "report", ["a leak"], sections=sections, images=images)
    return root


@pytest.fixture(scope="module")
def page(folder):
    return folder / "report/index.html"


@pytest.fixture(scope="module")
def chromium():
    with launched() as found:
        yield found


def test_what_stands_where(page):
    text = page.read_text()
    order = ["a leak", "View <b>clean</b>", "AUROC per generator", "does not beat the shallow cues", "All detectors"]
    order += ["Every score is", "<svg", "AUROC by size", "flip between", "Calibration, before", "Operating point"]
    order += ["Abstention", "Most wrongly scored images", "data:image/jpeg", "View <b>blur3</b>", "Generators across"]
    order += ["How this came about", "versions"]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert text.index(">knn<") < text.index(">control_noise<")
    assert "http" not in text.replace("http-equiv", "")
    assert "<b>x" not in text.replace("&lt;b&gt;x", "")
    assert len(text) < 1e6


def column(page, place, rows=f"{HEAT} >> tbody tr"):
    return [row.locator("th, td").nth(place).inner_text().split("\n")[0] for row in page.locator(rows).all()]


def test_tables_are_sorted_by_mouse_and_by_keyboard(chromium, page):
    with opened(chromium, page.as_uri()) as shown:
        heads = shown.locator(f"{HEAT} >> thead th")
        assert heads.all_inner_texts() == [
            "generator",
            "images",
            "<b>x",
            "knn",
            "probe",
            "control_noise",
            *CONTROLS[3:],
        ]
        assert heads.locator("button").count() == 7
        heads.nth(3).locator("button").click()
        assert heads.nth(3).get_attribute("aria-sort") == "descending"
        values = [float(value) for value in column(shown, 3)]
        assert values == sorted(values, reverse=True)
        assert len(values) == 3
        heads.nth(0).locator("button").focus()
        shown.keyboard.press("Enter")
        assert [head.get_attribute("aria-sort") for head in heads.all()] == ["ascending", *[None] * 6]
        assert column(shown, 0) == ["all", "gan", "sd14"]
        shown.keyboard.press("Space")
        assert column(shown, 0) == ["sd14", "gan", "all"]


def test_the_filter_keeps_rows_columns_and_curves(chromium, page):
    with opened(chromium, page.as_uri()) as shown:
        shown.locator("#filter").fill("PROBE control -noise")
        heads = shown.locator(f"{HEAT} >> thead th:visible")
        assert heads.all_inner_texts() == ["generator", "images", "probe", "control_shallow"]
        rows = shown.locator("h3:text-is('All detectors') + .wide >> nth=0 >> tbody tr:visible")
        assert rows.locator("th").all_inner_texts() == ["probe", "control_shallow"]
        roc = shown.locator("svg").nth(1)
        assert roc.locator("g:visible polyline").count() == 2
        assert shown.locator("#status").inner_text() == "2 of 5 detectors"
        shown.locator("#filter").fill("")
        assert shown.locator(f"{HEAT} >> thead th:visible").count() == 7
        assert roc.locator("g:visible polyline").count() == 5


def test_dataset_and_view_are_switched(chromium, page, folder):
    details = read_results(folder)["knn", "second"].parts("generator", "jpeg65").set_index("name")
    with opened(chromium, page.as_uri()) as shown:
        assert shown.locator("section[data-dataset]:visible h2").all_inner_texts() == ["photos"]
        shown.locator("#dataset").select_option("second")
        shown.locator("#view").select_option("jpeg65")
        assert shown.locator("section[data-dataset]:visible h2").all_inner_texts() == ["second"]
        assert shown.locator(".view:visible").count() == 1
        heads = shown.locator(f"{HEAT} >> thead th").all_inner_texts()
        values = dict(zip(column(shown, 0), column(shown, heads.index("knn")), strict=True))
        assert values["gan"] == f"{details.loc['gan', 'auroc']:.3f}"
        shown.locator("#dataset").select_option("all")
        assert shown.locator("section[data-dataset]:visible").count() == 2
        assert shown.locator(".view:visible").count() == 2


def test_a_cell_says_its_value_under_the_pointer_and_the_arrows(chromium, page, folder):
    row = read_results(folder)["knn", "photos"].parts("generator").iloc[0]
    said = f"knn on {row['name']}: {summary_tables.with_interval(row, 'auroc')} (view clean, images: {row['num_fake']})"
    with opened(chromium, page.as_uri(), viewport={"width": 375, "height": 700}) as shown:
        cells = shown.locator(f"{HEAT} >> tbody tr").nth(1).locator("td")
        assert cells.nth(2).locator("small").is_hidden()
        cells.nth(2).hover()
        assert shown.locator("#tip").inner_text() == said
        shown.mouse.move(0, 0)
        assert shown.locator("#tip").is_hidden()
        shown.locator(f"{HEAT} >> tbody td").first.focus()
        for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
            shown.keyboard.press(key)
        assert shown.locator("#tip").inner_text() == said
        shown.keyboard.press("Escape")
        assert shown.locator("#tip").is_hidden()
        shown.locator("#intervals").check()
        assert cells.nth(2).locator("small").is_visible()


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_keeps_to_its_width_and_its_pictures_load(chromium, page, width):
    for options in ({}, {"color_scheme": "dark"}, {"java_script_enabled": False}):
        with opened(chromium, page.as_uri(), viewport={"width": width, "height": 800}, **options) as shown:
            box = shown.locator("main").bounding_box()
            assert box["x"] + box["width"] <= width
            if "java_script_enabled" in options:
                assert shown.locator(".view:visible").count() == 6
                assert shown.locator("form, thead button").locator("visible=true").count() == 0
                continue
            assert shown.evaluate("[...document.images].filter(one => !one.naturalWidth).length") == 0
            assert shown.evaluate("document.images.length") > 2
            assert shown.evaluate("document.documentElement.scrollWidth") <= width
            shown.emulate_media(media="print")
            assert shown.locator("form").is_hidden()


def test_a_browser_would_find_a_fault(chromium, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text('<img src="http://127.0.0.1:9/x.png" width=900><script>console.error("oh"); throw 1</script>')
    with watched(chromium, bad.as_uri()) as (_, complaints, requests):
        assert len(complaints) >= 2
        assert requests == [bad.as_uri(), "http://127.0.0.1:9/x.png"]


def test_a_page_with_many_views_keeps_what_fits_and_names_the_rest():
    views = {name: {"t": pd.DataFrame(np.zeros((500, 10)))} for name in ("clean", "a", "b")}
    kept, left_out = report._views_that_fit(views)
    assert (list(kept), left_out) == (["clean", "a"], ["b"])
    huge = {"clean": {"t": pd.DataFrame(np.zeros((5000, 10)))}}
    assert report._views_that_fit(huge) == (huge, [])


def test_curves_lie_where_their_numbers_are(folder):
    results = {name: result for (name, dataset), result in read_results(folder).items() if dataset == "photos"}
    drawn = {chart.title: chart for chart in charts.charts(results)}["AUROC"].series
    assert [one.detector for one in drawn] == list(results)
    assert len({one.style for one in drawn}) == len(drawn)
    assert all(("grey" in one.style) == (one.detector in CONTROLS) for one in drawn)
    for one in drawn:
        points = np.array(re.findall(r"(\d+),(\d+)", one.points), float)
        curve = results[one.detector].curves["roc"].to_numpy(float)
        x, y = (points[:, 0] - charts.LEFT) / charts.SIDE, 1 - (points[:, 1] - charts.TOP) / charts.SIDE
        assert [x[0], y[0], x[-1], y[-1]] == [0, 0, 1, 1]
        area = np.trapezoid(y, x)  # of a drawing in whole pixels
        assert area == pytest.approx(np.trapezoid(curve[:, 1], curve[:, 0]), abs=0.01)
        assert f"{area:.2f}"[:3] == one.label[:3] or abs(area - float(one.label)) < 0.01


@pytest.mark.parametrize(
    ("cell", "falling", "expected"),
    [
        ("1.000 [0.9, 1.0]", False, "h10"),
        ("0.500", False, "h0"),
        ("0.750 (-0.1)", False, "h5"),
        ("0.499", False, "low"),
        ("0.000", True, "h10"),
        ("0.501", True, "low"),
        ("-", False, ""),
        ("sd14", True, ""),
    ],
)
def test_the_shade_of_a_cell(cell, falling, expected):
    assert charts.heat(cell, falling) == expected
