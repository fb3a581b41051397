"""Parameters are checked before anything runs, and a fault is one clear line."""

from typing import Annotated

import pytest
from pydantic import Field

from aigid.base import params
from aigid.base.errors import InputError


class Probe(params.Settings):
    c: Annotated[float, Field(gt=0)]
    steps: int = 10


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("seed: 3\nprobe:\n  c: 1e-3\ndatasets:\n  - demo\nbackbones:\n  tiny: {}\n")
    return path


def test_sections_are_coerced(file):
    assert params.load("probe", Probe, file) == Probe(c=0.001, steps=10)  # PyYAML reads 1e-3 as text
    assert params.load("seed", int, file) == 3
    assert params.load("datasets", list[str], file) == ["demo"]
    assert params.load("backbones.tiny", dict, file) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("probe:\n  c: -1\n", r"params.yaml: probe\.c: Input should be greater than 0, got -1"),
        ("probe:\n  c: one\n", r"probe\.c: .*got 'one'"),
        ("probe:\n  c: 1\n  cc: 2\n", r"probe\.cc: Extra inputs are not permitted, got 2"),
        ("probe: {}\n", r"probe\.c: Field required"),
        ("knn: {}\n", "no section 'probe'"),
        ("probe: [\n", "not YAML"),
        ("", "no section 'probe'"),
    ],
)
def test_a_fault_names_key_and_value(file, text, said):
    file.write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        params.load("probe", Probe, file)
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        params.load("probe", Probe, tmp_path / "params.yaml")
