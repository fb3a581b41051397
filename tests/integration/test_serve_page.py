"""The page in a browser: images in, verdicts out, by mouse and by keyboard, and no request to elsewhere."""

import csv
import json

import pytest

from tests.helpers.browser import launched, opened
from tests.helpers.service import grain, listening, service_of, write_bundle

NAME = '<img src=x onerror=alert(1)> & "=1+1".png'
DROP = """({names, contents}) => {
  const transfer = new DataTransfer();
  const type = "image/png";
  names.forEach((name, index) => transfer.items.add(new File([Uint8Array.from(contents[index])], name, {type})));
  document.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true}));
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    bundle = write_bundle(tmp_path_factory.mktemp("served"))
    with service_of(bundle) as service, listening(service) as (address, _):
        yield address


@pytest.fixture(scope="module")
def chromium():
    with launched() as found:
        yield found


def drop(page, files):
    page.evaluate(DROP, {"names": list(files), "contents": [list(content) for content in files.values()]})


def wait_for(page, text, **options):
    page.locator("#status").filter(has_text=text).wait_for(**options)


def test_verdict_map_and_error_by_mouse(chromium, address, tmp_path):
    with opened(chromium, address, viewport={"width": 375, "height": 700}) as page:
        drop(page, {NAME: grain(), "notes.jpg": b"no image"})
        wait_for(page, "Done.")
        cards = page.locator("#results > li")
        assert cards.count() == 2
        assert cards.nth(0).locator("h3").inner_text() == NAME
        assert page.locator("img[src=x]").count() == 0
        assert cards.nth(0).locator(".verdict").inner_text().split()[-1] in ("Real", "Generated", "Uncertain")
        assert "real up to" in cards.nth(0).locator(".band").get_attribute("aria-label")
        assert "not an image" in cards.nth(1).inner_text()
        page.get_by_role("button", name="Check stability").click()
        cards.nth(0).locator("[data-part=stability] tbody tr").nth(5).wait_for()
        page.get_by_role("button", name="Show what speaks for it").click()
        cards.nth(0).locator(".frame svg rect").nth(63).wait_for()
        assert "grain (8)" in page.locator("#knows").text_content()
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 375
        with page.expect_download() as download:
            page.get_by_role("button", name="CSV of all").click()
        download.value.save_as(tmp_path / "all.csv")
        with page.expect_download() as download:
            page.get_by_role("button", name="JSON").click()
        download.value.save_as(tmp_path / "one.json")
    with (tmp_path / "all.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    (document,) = json.loads((tmp_path / "one.json").read_text())
    assert (first["path"], first["verdict"]) == (NAME, document["verdict"])
    assert (second["path"], second["status"]) == ("notes.jpg", "not_an_image")


def test_by_keyboard_alone(chromium, address, tmp_path):
    (tmp_path / "a.png").write_bytes(grain())
    with opened(chromium, address) as page:
        page.keyboard.press("Tab")  # to the skip link
        page.keyboard.press("Tab")
        with page.expect_file_chooser() as chooser:
            page.keyboard.press("Enter")
        chooser.value.set_files(tmp_path / "a.png")
        wait_for(page, "a.png: ")
        focus = "() => document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"
        seen = []
        for _ in range(14):
            page.keyboard.press("Tab")
            seen.append(page.evaluate(focus))
        order = (
            "CSV of all",
            "Check stability: a.png",
            "JSON: a.png",
            "What the file says of itself",
            "These generators",
        )
        places = [next(place for place, text in enumerate(seen) if text.startswith(start)) for start in order]
        assert places == sorted(places)


@pytest.mark.slow
def test_fifty_files(chromium, address):
    with opened(chromium, address) as page:
        drop(page, {f"{number}.png": grain(number) for number in range(50)})
        wait_for(page, "Done.", timeout=60_000)
        assert page.locator("#results .verdict").count() == 50
        assert page.locator("#results .error").count() == 0
