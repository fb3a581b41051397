"""The toy dataset, on the CPU."""

import pytest

from tests.helpers.demo_experts import dataset


@pytest.fixture(autouse=True)
def on_cpu(monkeypatch):
    monkeypatch.setenv("AIGID_DEVICE", "cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def images(root):
    return dataset(root)
