"""The reader alone: each request one sample, in order, never more of them at once than allowed."""

import hashlib
import threading
from contextlib import closing

import numpy as np
import pytest
from PIL import Image
from skimage import data

from aigid.core.paths import RemotePath
from aigid.degradations import views
from aigid.features import reader as reader_module
from aigid.features.preprocess import Preprocess, resize_and_crop
from aigid.features.reader import Reader, ReadRequest, ViewSpec
from aigid.images.decode import decode
from tests.helpers.hostile import encode, picture

SMALL, LARGE = Preprocess(size=32), Preprocess(size=64, resize="squash")


@pytest.fixture
def root(tmp_path):
    Image.fromarray(data.chelsea()).save(tmp_path / "a.jpg", quality=90)
    (tmp_path / "b.jpg").write_bytes(b"<html>")
    return tmp_path


def request(root, path, *specs, index=0):
    content = (root / path).read_bytes() if (root / path).exists() else b""
    return ReadRequest(index, path, hashlib.sha256(content).hexdigest(), specs)


def test_every_input_of_one_image(root):
    specs = [
        ViewSpec(view, preprocess, decode)
        for view in ("clean", "jpeg65")
        for preprocess in (SMALL, LARGE)
        for decode in ("exact", "fast")
    ]
    requested = request(root, "a.jpg", *specs)
    sample = Reader(root, 3).read(requested)
    assert sample.status == "ok"
    assert sample.inputs.keys() == set(specs)
    image = decode(root / "a.jpg")
    for view, preprocess, decoding in specs:
        expected = resize_and_crop(views.apply(view, image, requested.sha256, 3)[0], preprocess)
        difference = np.abs(sample.inputs[view, preprocess, decoding].astype(int) - expected).max()
        assert difference == 0 if decoding == "exact" else difference <= 1


def test_an_image_is_decoded_once(root, monkeypatch):
    calls = []
    monkeypatch.setattr(
        reader_module, "decode", lambda *args, **options: calls.append(options) or decode(*args, **options)
    )
    specs = [
        ViewSpec(view, preprocess, decoding)
        for view in ("clean", "jpeg65", "blur3")
        for preprocess in (SMALL, LARGE)
        for decoding in ("exact", "fast")
    ]
    assert len(Reader(root, 0).read(request(root, "a.jpg", *specs)).inputs) == 12
    assert calls == [{"short": 0}]


def test_a_draft_is_of_no_other_backbones_size(tmp_path):
    """Nor of a view that degrades: its pixels are those of the file."""
    large = np.asarray(Image.fromarray(picture(60, 80)).resize((640, 480), Image.Resampling.BICUBIC))
    (tmp_path / "a.jpg").write_bytes(encode(large, "JPEG", quality=90))
    sizes = [Preprocess(size=size) for size in (16, 64, 224)]
    specs = [ViewSpec(view, size, "draft") for view in ("clean", "blur3") for size in sizes]
    alone = {spec: Reader(tmp_path, 0).read(request(tmp_path, "a.jpg", spec)).inputs[spec] for spec in specs}
    together = Reader(tmp_path, 0).read(request(tmp_path, "a.jpg", *specs)).inputs
    full = (
        Reader(tmp_path, 0).read(request(tmp_path, "a.jpg", *(spec._replace(decode="fast") for spec in specs))).inputs
    )
    for spec in specs:
        np.testing.assert_array_equal(together[spec], alone[spec])
        same = (together[spec] == full[spec._replace(decode="fast")]).all()
        assert same == (spec.view == "blur3" or spec.preprocess.size == 224), spec


def test_failures_are_statuses(root):
    reader = Reader(root, 0)
    assert reader.read(request(root, "b.jpg", ViewSpec("clean", SMALL))).status == "not_an_image"
    assert reader.read(request(root, "none.jpg", ViewSpec("clean", SMALL))).status == "missing"
    changed = reader.read(ReadRequest(0, "a.jpg", "0" * 64, (ViewSpec("clean", SMALL),)))
    assert changed.status == "changed"
    assert not changed.inputs


def test_a_view_that_a_backbone_cannot_take(root):
    fixed = ViewSpec("lr64", Preprocess(size=256, resize="none"))
    resizing = ViewSpec("lr64", Preprocess(size=256))
    sample = Reader(root, 0).read(request(root, "a.jpg", fixed, resizing))
    assert sample.status == "ok"
    assert sample.inputs.keys() == {resizing}
    assert sample.errors == {fixed: "view lr64 gives 224 x 224, and the backbone takes 256 x 256 without resizing"}
    larger_than_the_image = ViewSpec("clean", Preprocess(size=400, resize="none"))
    assert not Reader(root, 0).read(request(root, "a.jpg", larger_than_the_image)).errors


def test_order_and_bound(root, monkeypatch):
    """Not more than ``ahead`` requests are read before the first is taken, and all arrive in order."""
    read, lock = [], threading.Lock()

    def slow(self, requested):
        with lock:
            read.append(requested.index)
        return requested.index

    monkeypatch.setattr(Reader, "read", slow)
    samples = Reader(root, 0).samples((ReadRequest(n, "", "", ()) for n in range(50)), workers=4, prefetch=7)
    assert next(samples) == 0
    assert len(read) <= 7
    assert list(samples) == list(range(1, 50))


def test_closing_leaves_no_thread(root, monkeypatch):
    before = threading.active_count()
    samples = Reader(root, 0).samples((ReadRequest(n, "x", "", ()) for n in range(50)), workers=4, prefetch=7)
    next(samples)
    samples.close()
    assert threading.active_count() == before


def test_a_narrow_image_is_a_named_failure(tmp_path):
    Image.fromarray(np.zeros((1, 65_500, 3), np.uint8)).save(tmp_path / "n.png")
    sample = Reader(tmp_path, 0).read(request(tmp_path, "n.png", ViewSpec("clean", Preprocess(size=224))))
    assert (sample.status, sample.inputs) == ("too_many_pixels", {})
    assert "65500 x 1 at 224 px" in sample.message


def remote_reader(monkeypatch, read):
    """A reader of another machine's files, by ``read`` of a path, and what 200 requests give."""
    monkeypatch.setattr(reader_module, "read_bytes", lambda path: read(int(str(path).rpartition("/")[2])))
    requests = [ReadRequest(number, str(number), "", ()) for number in range(200)]
    return Reader(RemotePath("memory://images"), 0).samples(requests, 2, 4)


def test_a_remote_file_that_is_waited_for_holds_up_no_other(monkeypatch):
    others, ready = [], threading.Event()

    def read(number):
        if number == 50:
            assert ready.wait(10)
        others.append(number)
        if len(others) == 150:  # without the fiftieth
            ready.set()
        return b"any"

    assert [sample.index for sample in remote_reader(monkeypatch, read)] == [*range(200)]


def test_remote_files_that_wait_have_a_limited_size(monkeypatch):
    read, at_rest = [], threading.Event()
    monkeypatch.setattr(reader_module, "AHEAD_BYTES", 40 * 3)
    with closing(remote_reader(monkeypatch, lambda number: read.append(number) or b"any")) as samples:
        next(samples)
        at_rest.wait(0.1)
        assert len(read) <= 1 + 4 + 40
    assert len(read) <= 1 + 4 + 40
