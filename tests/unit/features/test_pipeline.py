"""The loop between reader, encoder and writer, with a reader and backbones that the test makes."""

import time
from threading import Barrier

import numpy as np
import pytest
import torch

from aigid.core import cache
from aigid.core.errors import InputError
from aigid.features import pipeline, row_cache
from aigid.features.backbones import BackboneSettings
from aigid.features.reader import DecodedImage

SETTINGS = BackboneSettings(library="open_clip", model="fake", preprocess={"size": 8})
KEY = np.array([f"{n:064x}" for n in range(40)], "S64")


class FakeBackbone:
    """The square's first value times ``times``; notes the sizes it was given."""

    device_info, dim, batch, threaded = "test", 1, 4, True

    def __init__(self, times=1.0, size=8):
        self.settings = SETTINGS.model_copy(
            update={"preprocess": SETTINGS.preprocess.model_copy(update={"size": size})}
        )
        self.times, self.sizes = times, []

    def encode(self, squares):
        self.sizes.append(len(squares))
        return squares[:, :1, 0, 0].astype(np.float32) * self.times


class Reader:
    """The square of row n is all n; rows in ``bad`` fail, row ``stop`` interrupts."""

    def __init__(self, bad=(), stop=None, refuse=()):
        self.bad, self.stop, self.refuse, self.wanted = bad, stop, refuse, {}

    def samples(self, requests, workers, prefetch):
        for request in requests:
            self.wanted[request.index] = request.view_specs
            if request.index == self.stop:
                raise KeyboardInterrupt
            known = (request.index, request.path, request.sha256)
            if request.index in self.bad:
                yield DecodedImage(*known, "truncated", "too short")
                continue
            inputs = {
                want: np.full((want.preprocess.size,) * 2 + (3,), request.index, np.uint8)
                for want in request.view_specs
            }
            yield DecodedImage(*known, inputs=inputs, errors=dict.fromkeys(self.refuse, "too small"))


def task(backbone, folder, missing=None, **changes):
    missing = np.ones(len(KEY), bool) if missing is None else missing
    return pipeline.ExtractionTask("clean", backbone, cache.CacheEntry(folder), missing, **changes)


def run(tasks, reader):
    return pipeline.run(tasks, reader, [f"{n}.png" for n in range(len(KEY))], KEY, workers=2)


def cached(folder):
    rows = row_cache.CachedEmbeddings(cache.CacheEntry(folder), row_cache.KeyIndex(KEY))
    out = np.full((len(KEY), 1), np.nan, np.float16)
    rows.read(0, len(KEY), out)
    return out[:, 0]


def test_backbones_get_what_they_miss_and_each_image_is_read_once(tmp_path):
    odd = np.arange(len(KEY)) % 2 == 1
    odd[30:] = False
    first, second = FakeBackbone(1), FakeBackbone(2, size=16)
    reader = Reader(bad=(3, 8))
    failed = run([task(first, tmp_path / "a", odd), task(second, tmp_path / "b")], reader)
    assert [sample.index for sample in failed] == [3, 8]
    assert all(not sample.inputs for sample in failed)
    assert list(reader.wanted) == list(range(len(KEY)))
    assert [len(reader.wanted[n]) for n in (0, 1)] == [1, 2]
    n = np.arange(len(KEY), dtype=float)
    np.testing.assert_array_equal(cached(tmp_path / "a"), np.where(odd & (n != 3), n, np.nan))
    np.testing.assert_array_equal(cached(tmp_path / "b"), np.where(np.isin(n, (3, 8)), np.nan, 2 * n))
    assert max(second.sizes) == 4


def test_nothing_missing_reads_nothing(tmp_path):
    reader = Reader()
    assert run([task(FakeBackbone(), tmp_path, np.zeros(len(KEY), bool))], reader) == []
    assert reader.wanted == {}


def test_an_interruption_keeps_what_is_finished_and_says_so(tmp_path):
    with pytest.raises(KeyboardInterrupt, match=r"^stopped: about \d+ of 40 images are in the cache") as caught:
        run([task(FakeBackbone(), tmp_path / "a")], Reader(stop=21))
    assert "\n" not in str(caught.value)
    rows = np.flatnonzero(~np.isnan(cached(tmp_path / "a")))
    np.testing.assert_array_equal(rows, np.arange(8))  # of the rounds of two batches of 4, all but the one underway


def test_a_processor_encodes_two_batches_at_once_with_a_thread_each(tmp_path):
    meeting, threads = Barrier(2, timeout=10), set()
    before = torch.get_num_threads()
    torch.set_num_threads(3)

    class Meeting(FakeBackbone):
        def encode(self, squares):
            threads.add(torch.get_num_threads())
            meeting.wait()
            return super().encode(squares)

    run([task(Meeting(), tmp_path)], Reader())
    after = torch.get_num_threads()
    torch.set_num_threads(before)
    np.testing.assert_array_equal(cached(tmp_path), np.arange(len(KEY)))
    assert (threads, after) == ({1}, 3)


def test_what_was_not_requested_is_given_up(tmp_path, caplog):
    large = FakeBackbone(1e4)
    requested_task = task(FakeBackbone(), tmp_path / "a")
    failed = run([requested_task, task(large, tmp_path / "b", requested=False)], Reader())
    assert failed == []
    assert not np.isnan(cached(tmp_path / "a")).any()
    assert caplog.text.count("fake is not computed alongside: view clean: an embedding reaches") == 1
    with pytest.raises(InputError, match="an embedding reaches 70000, more than float16 holds"):
        run([task(large, tmp_path / "c")], Reader())
    assert np.nanmax(cached(tmp_path / "c")) == 30_000  # what fits stays


def test_a_view_that_a_backbone_refuses(tmp_path, caplog):
    requested_task, other = (
        task(FakeBackbone(), tmp_path / "a"),
        task(FakeBackbone(size=16), tmp_path / "b", requested=False),
    )
    run([requested_task, other], Reader(refuse=[other.input]))
    assert "not computed alongside: too small" in caplog.text
    with pytest.raises(InputError, match=r"^too small$"):
        run([task(FakeBackbone(), tmp_path / "c")], Reader(refuse=[requested_task.input]))


def test_waiting_time_is_shown_by_stage():
    waiting = pipeline.StageTimer()
    for part, spent in (("reader", 0.04), ("encoder", 0.01)):
        with waiting.measure(part):
            time.sleep(spent)
    assert str(waiting).startswith("waits for reader ")
    assert waiting.seconds["reader"] > waiting.seconds["encoder"] > waiting.seconds["writer"] == 0
