"""Reading image and audio files: the first epoch, the second, and the first of a second run, whose cells are cached."""

import tempfile
import time
from pathlib import Path

import soundfile
import torch
from PIL import Image

from benchmarks.table import make
from polymodal import Table
from polymodal.data.preprocess import Preprocessor
from polymodal.data.schema import Schema
from polymodal.modalities import choose
from polymodal.nn import SIZES

ROWS, BATCH = 1_000, 64


def run() -> dict[str, float]:
    """Seconds to have every batch of an epoch in memory. The baseline opens and resizes every file in every epoch."""
    with tempfile.TemporaryDirectory() as folder:
        table = Table.read(make(Path(folder), ROWS, side=480))
        schema = Schema.infer(table, "label", ignore=["note", "price"])
        codecs = {m: choose(kind)[0] for m, (kind, _) in schema.modalities().items()}
        prep = Preprocessor(schema, codecs).fit(table, SIZES["small"], quiet=True)

        def encode() -> float:
            began = time.perf_counter()
            encode.rows = prep.encode(table, None, cache=Path(folder) / "cache", quiet=True)
            return time.perf_counter() - began

        def epoch() -> float:
            began = time.perf_counter()
            for start in range(0, ROWS, BATCH):
                encode.rows.batch(range(start, min(start + BATCH, ROWS)))
            return time.perf_counter() - began

        first = encode() + epoch()
        second = epoch()
        second_run = encode() + epoch()
        naive = _naive(Path(folder))
    return {
        "baseline, every epoch: seconds": naive,
        "first epoch: seconds": first,
        "second epoch: seconds": second,
        "first epoch of a second run: seconds": second_run,
        "first epoch / baseline": first / naive,
        "second epoch / first": second / first,
        "first epoch of a second run / first": second_run / first,
    }


def _naive(folder: Path) -> float:
    began = time.perf_counter()
    for i in range(ROWS):
        with Image.open(folder / f"{i}.jpg") as picture:
            torch.frombuffer(bytearray(picture.convert("RGB").resize((64, 64)).tobytes()), dtype=torch.uint8)
        wave, _ = soundfile.read(folder / f"{i}.wav", dtype="float32")
        torch.stft(torch.from_numpy(wave), 400, 160, window=torch.hann_window(400), return_complex=True).abs()
    return time.perf_counter() - began
