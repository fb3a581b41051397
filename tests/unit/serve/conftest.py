"""One bundle for all tests of the service."""

import pytest

from tests.helpers.service import service_of, write_bundle


@pytest.fixture(scope="package")
def bundle(tmp_path_factory):
    """The folder of a small bundle."""
    return write_bundle(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="package")
def service(bundle):
    with service_of(bundle, allow_urls=True) as service:
        yield service
