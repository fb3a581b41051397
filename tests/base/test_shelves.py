import json
from pathlib import Path

import pytest

from aigid.base.errors import InputError
from aigid.base.shelves import ABOUT, folder_of


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIGID_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_folder_is_named_by_what_decides_its_content_alone(cache: Path) -> None:
    first = folder_of("fakes", {"seed": 1, "model": "vae"}, {"made_by": "me"})
    again = folder_of("fakes", {"model": "vae", "seed": 1}, {"made_by": "you"})

    assert first == again
    assert first.parent == cache / "fakes"
    assert json.loads((first / ABOUT).read_text()) == {"seed": 1, "model": "vae", "made_by": "me"}
    assert folder_of("fakes", {"seed": 2, "model": "vae"}) != first


def test_a_cache_that_cannot_be_written_is_named_with_its_variable(cache: Path) -> None:
    cache.write_text("a file")

    with pytest.raises(InputError, match=r"cache .*cache: Not a directory; \$AIGID_CACHE names another folder"):
        folder_of("fakes", {})
