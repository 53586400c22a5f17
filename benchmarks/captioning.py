"""The captioner of tutorials against the same widths in polymodal: milliseconds, and how many times faster; by threads.

The baselines are `naive.py` and, where POLYMODAL_TF names an interpreter that has tensorflow-cpu, `naive_tf.py`. Both
are given features where a caption is written, as the library is: the image network costs all three the same then.
Ours: features in a memory-mapped cache in half precision, `train` in bf16, the attentive GRU with a dot product (which
does more than the baseline's: it looks before each word) without dropout, which the baseline lacks.
"""

import os
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from benchmarks.asked import Asked, serve
from benchmarks.naive import BATCH, CHANNELS, DIM, LENGTH, PLACES, WORDS, captions
from polymodal import objectives
from polymodal.data.cache import Store
from polymodal.data.encode import Encoded
from polymodal.data.preprocess import Rows
from polymodal.decoders.base import Decoding
from polymodal.decoders.embedding import WordEmbedding
from polymodal.decoders.recurrent import AttentiveGRU, DotProduct
from polymodal.heads.writer import Writer
from polymodal.learners.encoders import Encoders
from polymodal.learners.network import Network
from polymodal.modalities.image.hub import HubImage
from polymodal.modalities.pretrained.hub import Frozen
from polymodal.modalities.vector.encoders import Projection
from polymodal.quantize import int8
from polymodal.tasks.generate import Generation
from polymodal.tasks.vocabulary import WordList
from polymodal.training.loop import train
from polymodal.training.settings import Settings

TOKENS = 20  # of a caption, its end among them
REPEATS = 3
ROWS, HELD, EPOCHS = 5 * BATCH, 2 * BATCH, 5
TARGETS = {  # what ours / the baseline's is, and how many times as fast it has to be
    "step, with the image network": ("photos", "step", 40.0),
    "step on cached features": ("features", "step", 7.5),
    "caption, batch 1": ("caption", "caption", 30.0),
    "caption, batch 1, int8": ("caption", "caption int8", 70.0),
    "caption, batch 32, int8": ("caption", "captions int8", 200.0),
}
ASKED = {
    "naive": ("features", "caption", "image"),
    "ours": ("step", "caption", "caption int8", "captions", "captions int8"),
}


def run(threads: tuple[int, ...] = (1, 2)) -> dict[str, float]:
    """Medians of processes that are asked in turn; the step with the image network only twice."""
    out: dict[str, float] = {}
    for n in threads:
        out |= {f"{n} thread{'s' * (n > 1)}: {k}": v for k, v in _compared(n).items()}
    return out


def _compared(threads: int) -> dict[str, float]:
    arguments = [str(threads), str(TOKENS)]
    workers = {
        "naive": Asked([sys.executable, "-m", "benchmarks.naive", *arguments], threads),
        "ours": Asked([sys.executable, "-m", "benchmarks.captioning", str(threads)], threads),
    }
    if tensorflow := os.environ.get("POLYMODAL_TF"):
        workers["tensorflow"] = Asked([tensorflow, str(Path(__file__).with_name("naive_tf.py")), *arguments], threads)
    else:
        print("POLYMODAL_TF is not set: the TensorFlow original is left out", file=sys.stderr)
    times: dict[tuple[str, str], list[float]] = {}

    def note(name: str, thing: str) -> None:
        found = workers[name](thing)
        times.setdefault((name, thing), []).append(found["ms"] if isinstance(found, dict) else found)

    try:
        for repeat in range(1 + REPEATS):
            for name in workers:
                for thing in ASKED.get(name, ASKED["naive"]):
                    note(name, thing)
                if name != "ours" and repeat < 2:
                    note(name, "photos")
        noise: dict[str, float] = workers["ours"]("noise")
    finally:
        for ask in workers.values():
            ask.close()
    ms = {k: statistics.median(v[1:]) for k, v in times.items()}  # the first is warm-up, or traces
    for thing in ("captions", "captions int8"):
        ms["ours", thing] /= BATCH  # each of them
    out = {f"{name}, {thing}: ms": v for (name, thing), v in ms.items()}
    for base in workers.keys() - {"ours"}:
        for line, (theirs, own, target) in TARGETS.items():
            out[f"{base} / ours: {line} (target {target:g})"] = ms[base, theirs] / ms["ours", own]
    return out | noise


class Clocked(Network):
    """A network that notes when each step of training begins."""

    def loss(self, batch):
        if self.training:
            self.times.append(1000 * time.perf_counter())
        return super().loss(batch)


class Ours:
    """A network that writes, on cached features, and rows of random captions that it is trained on."""

    def __init__(self, folder: Path) -> None:
        g = np.random.default_rng(0)
        names = ["".join(chr(97 + i // 26**k % 26) for k in range(4)) for i in range(WORDS)]
        texts = [" ".join(names[i - 3] for i in ids) for ids in captions(ROWS + HELD, g)]
        every = [" ".join(names[i : min(i + TOKENS, WORDS - 3)]) for i in range(0, WORDS - 3, TOKENS)]
        self.task = Generation(WordList(WORDS - 3, 1), LENGTH).fit([*texts, *every])
        assert self.task.outputs == WORDS, self.task.outputs
        frozen, store = Frozen(HubImage("inception"), PLACES), Store(folder)
        frozen.width_ = CHANNELS
        seen = torch.randn(len(texts), PLACES, CHANNELS).half()
        places = [store.add(b"%016d" % i, x) for i, x in enumerate(seen)]
        store.flush()
        labels, numbers = [self.task.encode(t) for t in texts], list(range(len(texts)))
        self.rows = Rows({"photo": Encoded(store, places)}, {"photo": frozen}, labels, self.task, numbers, [])
        decoder = AttentiveGRU(DotProduct(DIM, DIM), WordEmbedding(WORDS, DIM), dropout=0.0)
        encoders = Encoders({"photo": Projection(CHANNELS, DIM, dropout=0.0)})
        head = Writer(encoders.names, decoder, self.task, decoding=GREEDY, dropout=0.0)
        self.learner = Clocked(encoders, head)
        self.small = int8(self.learner)

    def step(self) -> dict[str, float]:
        """Median milliseconds of `train`'s steps from the second epoch on; some of them hold an epoch's end."""
        self.learner.times = []
        rows, few = self.rows.take(range(ROWS)), self.rows.take(range(ROWS, ROWS + 2))
        settings = Settings(epochs=EPOCHS, batch_size=BATCH, precision="bf16")
        train(self.learner, objectives.of(self.task), rows, few, settings, quiet=True)
        self.small = int8(self.learner)
        return {"ms": statistics.median(b - a for a, b in pairwise(self.learner.times[ROWS // BATCH :]))}

    @torch.inference_mode()
    def caption(self, learner: Network, count: int) -> list[str]:
        """Texts for so many rows."""
        ids = learner.write(self.rows.batch(range(count)).inputs, GREEDY).ids[:, 0]
        assert ids.shape[1] == TOKENS
        return self.task.written(ids)

    @torch.inference_mode()
    def noise(self) -> dict[str, float]:
        """The mean loss of captions that were not trained on, and how far bf16 and int8 are from it."""
        full, losses = self.learner.eval(), {}
        for name, learner in {"fp32": full, "bf16": full, "int8": self.small}.items():
            with torch.autocast("cpu", torch.bfloat16, enabled=name == "bf16"):
                each = [learner.loss(self.rows.batch([i])).parts["loss"] for i in range(ROWS, ROWS + HELD)]
            losses[name] = torch.stack(each).float()
        error = losses["fp32"].std() / HELD**0.5
        words = [" ".join(self.caption(x, BATCH)).split() for x in (full, self.small)]
        out = {"held-out loss, fp32": losses["fp32"].mean(), "standard error of it": error}
        out |= {f"held-out loss, {k} - fp32": (losses[k] - losses["fp32"]).mean() for k in ("bf16", "int8")}
        same = sum(a == b for a, b in zip(*words, strict=True)) / len(words[0])
        return {k: float(v) for k, v in out.items()} | {"words of 32 captions, int8 = fp32": same}


GREEDY = Decoding("greedy", min_length=TOKENS - 1, max_length=TOKENS - 1)


def main(threads: int) -> None:
    """Answer what `run` asks."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(Path(folder))
        serve(
            {
                "step": ours.step,
                "caption": lambda: ours.caption(ours.learner, 1),
                "caption int8": lambda: ours.caption(ours.small, 1),
                "captions": lambda: ours.caption(ours.learner, BATCH),
                "captions int8": lambda: ours.caption(ours.small, BATCH),
                "noise": ours.noise,
            }
        )


if __name__ == "__main__":
    main(int(sys.argv[1]))
