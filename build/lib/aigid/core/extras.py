"""The packages of the extras of pyproject.toml: one line names the extra that a missing one belongs to."""

import re
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

from aigid.core.errors import InputError

DISTRIBUTIONS = {  # of modules that are not called like their package
    "c2pa": "c2pa-python",
    "multipart": "python-multipart",
    "open_clip": "open_clip_torch",
    "ruamel": "ruamel.yaml",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "sklearnex": "scikit-learn-intelex",
}
REQUIREMENT = re.compile(r"([\w.-]+).*\bextra == ['\"]([\w-]+)['\"]")


def require(module: str, use: str) -> None:
    """Raise InputError where the module that ``use`` is made of is not installed."""
    if find_spec(module) is None:
        raise InputError(missing(module, use) or f"{use}: needs {module}, which is not installed")


def missing(module: str, use: str) -> str | None:
    """Return that ``use`` needs the package of a module, and the extra that has it; None where no extra has it."""
    package = DISTRIBUTIONS.get(name := module.partition(".")[0], name)
    for requirement in requires("aigid") or ():
        match = REQUIREMENT.match(requirement)
        if match and _normalized(match[1]) == _normalized(package):
            return f"{use}: needs {package}, of the extra {match[2]}: pip install 'aigid[{match[2]}]'"
    return None


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    result = {}
    for name in packages:
        with suppress(PackageNotFoundError):
            result[name] = version(name)
    return result


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
