"""Every test has a cache of its own."""

import pytest


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """Keep ``$AIGID_CACHE`` out of the user's home."""
    monkeypatch.setenv("AIGID_CACHE", str(tmp_path / "cache"))


def pytest_collection_modifyitems(items):
    """The longest files first: with several processes, none waits for another's at the end."""
    longest = ("test_repro.py", "test_sharing.py", "test_kills.py")
    items.sort(key=lambda item: item.path.name not in longest)
