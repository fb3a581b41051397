"""Every test has a cache of its own."""

import pytest


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """Keep ``$AIGID_CACHE`` out of the user's home."""
    monkeypatch.setenv("AIGID_CACHE", str(tmp_path / "cache"))
