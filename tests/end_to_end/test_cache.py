"""Decoded cells are kept on disk, found by content, and safe when two processes write at once."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from polymodal.data import cache
from polymodal.data.cache import Store
from polymodal.data.encode import encode
from polymodal.errors import Unreadable
from polymodal.modalities.base import stack


class Counting:
    """A codec that counts how often it decodes: the number in a text file, as a vector of that length."""

    kind, costly, batched, takes_files = "counting", True, False, True

    def __init__(self) -> None:
        self.decoded = 0

    def fingerprint(self) -> str:
        return "0" * 32

    def encode_batch(self, cells):
        out = []
        for c in cells:
            self.decoded += c is not None
            text = c.read_text() if c is not None and c.exists() else None
            out.append(None if c is None else Unreadable("gone") if text is None else torch.ones(int(text)))
        return out

    def collate(self, cells):
        return stack(cells, torch.zeros(1))


def files(folder: Path, numbers: list[int]) -> list[Path]:
    for i, n in enumerate(numbers):
        (folder / f"{i}.txt").write_text(str(n))
    return [folder / f"{i}.txt" for i in range(len(numbers))]


def test_second_run_decodes_nothing(tmp_path):
    cells, codec = files(tmp_path, [3, 1, 4, 1]), Counting()
    first, _ = encode(cells, codec, tmp_path / "cache")
    assert codec.decoded == 3  # two files of equal content are one record
    again, _ = encode(cells, codec, tmp_path / "cache")
    assert codec.decoded == 3
    for x in (first, again):
        assert [len(x[i]) for i in range(4)] == [3, 1, 4, 1]


def test_changed_file_is_decoded_again(tmp_path):
    cells, codec = files(tmp_path, [3]), Counting()
    encode(cells, codec, tmp_path / "cache")
    cells[0].write_text("5")
    x, _ = encode(cells, codec, tmp_path / "cache")
    assert len(x[0]) == 5 and codec.decoded == 2


def test_unreadable_is_told_and_not_cached(tmp_path):
    codec, cells = Counting(), [tmp_path / "none.txt", None]
    x, bad = encode(cells, codec, tmp_path / "cache")
    assert bad == {0: "gone"} and x[0] is None and x[1] is None and x.present().tolist() == [False, False]
    cells[0].write_text("2")
    x, bad = encode(cells, codec, tmp_path / "cache")
    assert not bad and len(x[0]) == 2


@pytest.mark.parametrize("folder", [True, False])
@pytest.mark.parametrize("dtype", list(cache.CODES))
def test_records_round_trip(tmp_path, dtype, folder):
    store = Store(tmp_path / "s" if folder else None)
    values = [torch.arange(n).to(dtype).reshape(shape) for n, shape in [(6, (2, 3)), (0, (0, 4)), (1, ())]]
    places = [store.add(bytes([i] * 16), v) for i, v in enumerate(values)]
    store.flush()
    for s, p in [(store, places)] + ([(Store(tmp_path / "s"), None)] if folder else []):
        for i, v in enumerate(values):
            place = p[i] if p else s.find(bytes([i] * 16))
            got = s.read(place)
            assert got.shape == v.shape and got.dtype == dtype and torch.equal(got, v)


def test_segments_are_written_as_they_fill(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "SEGMENT", 1000)
    store = Store(tmp_path)
    places = [store.add(bytes([i] * 16), torch.full((50,), float(i))) for i in range(20)]
    assert len(list(tmp_path.glob("*.bin"))) >= 3
    store.flush()
    assert [store.read(p)[0].item() for p in places] == list(range(20))


def test_broken_segment_is_a_miss(tmp_path):
    store = Store(tmp_path)
    store.add(b"a" * 16, torch.ones(100))
    store.flush()
    (segment,) = tmp_path.glob("*.bin")
    segment.write_bytes(segment.read_bytes()[:32])
    assert Store(tmp_path).find(b"a" * 16) is None
    segment.unlink()
    assert Store(tmp_path).find(b"a" * 16) is None


def test_two_processes_write_at_once(tmp_path):
    code = """
import sys, torch
from pathlib import Path
from polymodal.data import cache
cache.SEGMENT = 4096
store = cache.Store(Path(sys.argv[1]))
who = int(sys.argv[2])
for i in range(200):
    store.add((i + 100 * who).to_bytes(16, "big"), torch.full((10 + i % 7,), float(i + 100 * who)))
store.flush()
"""
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(w)]) for w in range(2)]
    assert [p.wait(60) for p in both] == [0, 0]
    store = Store(tmp_path)
    for i in range(300):
        place = store.find(i.to_bytes(16, "big"))
        assert place is not None and set(store.read(place).tolist()) == {float(i)}
    assert not list(tmp_path.glob("*.tmp"))


def test_usage_and_clear_touch_nothing_else(tmp_path):
    store = Store(tmp_path / f"image-{'a' * 32}")
    store.add(b"k" * 16, torch.zeros(10))
    store.flush()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.bin").write_bytes(b"x")
    (entry,) = cache.usage(tmp_path)
    assert entry.records == 1 and entry.bytes > 40
    assert cache.clear(tmp_path) == entry.bytes and cache.usage(tmp_path) == []
    assert (tmp_path / "mine" / "thesis.bin").exists()


def test_keys_tell_contents_apart(tmp_path):
    a, b = np.zeros((2, 3)), np.zeros((3, 2))
    assert cache.key(a) == cache.key(a.copy()) != cache.key(b)
    assert cache.key(a) != cache.key(a.astype("f4"))
    assert cache.key(tmp_path / "none") is None and cache.key({"a": 1}) is None
