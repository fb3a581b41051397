"""A page in a headless Chromium that must ask nobody else and complain of nothing."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def launched() -> Iterator[Any]:
    """The browser."""
    if (program := next(filter(None, map(shutil.which, NAMES)), None)) is None:
        pytest.skip("no Chromium on this machine; on Debian `apt install chromium` provides it")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as tools:
        chromium = tools.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@contextmanager
def opened(chromium: Any, address: str, **options: Any) -> Iterator[Any]:
    """A page at ``address``; at the end nothing was complained of, and nobody else was asked."""
    with watched(chromium, address, **options) as (page, complaints, requests):
        yield page
    assert not complaints
    assert [url for url in requests if not url.startswith((address, "blob:", "data:"))] == []


@contextmanager
def watched(chromium: Any, address: str, **options: Any) -> Iterator[tuple[Any, list[str], list[str]]]:
    """The page, what it complained of and what it asked for; options as of playwright's ``new_page``."""
    complaints, requests = [], []
    page = chromium.new_page(accept_downloads=True, **options)
    page.on("filechooser", lambda chooser: None)  # from now on choosers go to the test, not from the first wait on
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(address)
    yield page, complaints, requests
    page.close()
