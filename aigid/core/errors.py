"""Errors that mean: the user's input is wrong, or the extra of pyproject.toml that it needs is not installed."""

import errno
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from typing import Any

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
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


class InputError(ValueError):
    """A user's mistake, in one line that names the thing and the value; commands exit with 2."""


def reason(error: BaseException, max_chars: int = 300, named: bool = False) -> str:
    """Return what an error says on one line, or else its kind; ``named`` with its kind before it."""
    return " ".join(f"{type(error).__name__ if named else ''} {error}".split())[:max_chars] or type(error).__name__


def parse_json(text: str | bytes) -> Any:
    """Return what JSON from elsewhere says; ValueError where it is none, or nests too deeply to be read."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nests too deeply") from None


@contextmanager
def os_errors(name: object, hint: str = "") -> Iterator[None]:
    """Turn an OSError, of HDF5 too, into an InputError ``<name>: <reason>``, with what to do if it is known."""
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else error
        raise InputError(f"{name}: {why}{hint or remedy(error)}") from None


@contextmanager
def input_errors(name: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turn any error, or one of some kinds, into an InputError ``<name>: <reason>``; one that is it already stays."""
    expected = kinds or (Exception,)
    try:
        yield
    except InputError:
        raise
    except expected as error:
        raise InputError(f"{name}: {reason(error)}") from None


def remedy(error: OSError) -> str:
    """Return what to do about an error, to be appended to it."""
    return "; free some space there" if error.errno in FULL_DISK else ""


@contextmanager
def full_disk_errors(folder: object) -> Iterator[None]:
    """Let what is raised when the disk is full, or a file as large as it may be, be an OSError that names the folder.

    Python's names no file, torch and safetensors raise errors of their own.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        cause = error if isinstance(error, OSError) else error.__context__
        number = cause.errno if isinstance(cause, OSError) else None
        if number in (*FULL_DISK, errno.EFBIG) or os.strerror(errno.ENOSPC) in str(error):
            number = number or errno.ENOSPC
            raise OSError(number, os.strerror(number), str(folder)) from None
        raise


def require_package(module: str, use: str) -> None:
    """Raise InputError where the module that ``use`` is made of is not installed."""
    if find_spec(module) is None:
        raise InputError(missing_package(module, use) or f"{use}: needs {module}, which is not installed")


def missing_package(module: str, use: str) -> str | None:
    """Return that ``use`` needs the package of a module, and the extra that has it; None where no extra has it."""
    package = DISTRIBUTIONS.get(name := module.partition(".")[0], name)
    for requirement in requires("aigid") or ():
        match = REQUIREMENT.match(requirement)
        if match and _normalized(match[1]) == _normalized(package):
            return f"{use}: needs {package}, of the extra {match[2]}: pip install 'aigid[{match[2]}]'"
    return None


def package_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    result = {}
    for name in packages:
        with suppress(PackageNotFoundError):
            result[name] = version(name)
    return result


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
