"""A table of image files, audio files, texts and numbers, made here, for the benchmarks."""

import csv
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

WORDS = "a the red blue small large box came was is very well today seen with of on it they we".split()


def make(folder: Path, rows: int, *, files: int | None = None, side: int = 160, seconds: float = 1.0) -> Path:
    """`rows` rows over `files` distinct JPEG and WAV files (default: one a row), side x side pixels, at 16 kHz."""
    g = np.random.default_rng(0)
    files = files or rows
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(files):
        coarse = g.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{i}.jpg", quality=90)
        soundfile.write(folder / f"{i}.wav", g.normal(0, 0.1, int(16_000 * seconds)), 16_000)
    with (folder / "table.csv").open("w", newline="") as f:
        write = csv.writer(f)
        write.writerow(["photo", "sound", "note", "price", "label"])
        for i in range(rows):
            note = " ".join(g.choice(WORDS, 12))
            write.writerow([f"{i % files}.jpg", f"{i % files}.wav", note, round(g.normal(10, 3), 2), i % 3])
    return folder / "table.csv"
