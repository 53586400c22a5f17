"""An ONNX file as a frozen encoder of a column: its inputs' shapes say how to feed it, overrides where they do not.

    cell --prepared--> array of the input's shape --onnxruntime--> float16 (T, width), cached --Projection--> tokens

On the command line overrides follow the file's name: `--encoder sound=yamnet.onnx:rate=16000,output=embedding`.
onnxruntime is imported where used, on the CPU, with as many threads as OMP_NUM_THREADS says. Operators that a file
does not carry itself are not loaded: no code of the file's author is run.

Axes: n batch, t token or reading, s sample, c channel, h height, w width, d width of a token.
"""

import difflib
import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polymodal.errors import InputError, Unreadable
from polymodal.modalities.pretrained.codec import FrozenCodec
from polymodal.modalities.pretrained.graph import (
    Failed,
    Feed,
    Feeding,
    GraphCodec,
    belonging,
    digest,
    execute,
    plan,
    unfit,
)
from polymodal.modalities.pretrained.network import BATCH, reduce
from polymodal.nn import Size
from polymodal.spec import spec


class Onnx(FrozenCodec):
    """What an ONNX file says of a cell: float16 (T, width_), T <= `tokens`; the network never learns.

    source: the file, or a folder with one; its tokenizer.json lies beside it. options: overrides (see `Feeding`), as
    text: input and output are names; layout the order of the axes; rate in Hz and seconds; size of an image's sides;
    pixels are scaled to 0 ... scale (1 unless said), then (x - mean) / std, a value for each channel parted by "/".

    Images are resized to the input's height and width, 224 where those are open. Clips and series are cut or padded
    with zeros where the length is fixed. Cells of unequal length never share a batch, so nothing is padded otherwise.
    Outputs of (N, D) are one token, (N, T, D) and (N, D, H, W) many, of which `tokens` means over neighbours are kept.
    """

    def __init__(self, source: str, kind: str, options: Mapping[str, str] | None = None, tokens: int = 1) -> None:
        self.source, self.kind, self.options, self.tokens = source, kind, dict(options or {}), tokens
        self._feeding, self.takes_files = _feeding(kind)
        for name in self.options:
            if name not in (options_ := self._feeding.options):
                near = difflib.get_close_matches(name, options_, 1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise InputError(f"no option {name!r} for {kind} in ONNX; {hint}It is: {', '.join(options_)}")
        self.width_, self.length_ = 1, 128

    def fit(self, cells: Iterable[Any], size: Size) -> Self:
        """Run the network once to learn its width; nothing is learned from the cells.

        Raises InputError for a file that can't be read, or not be fed by the shapes of its inputs.
        """
        self.length_ = size.tokens
        try:
            self.width_ = self._look([self._feeding.blank(self._given())])[0].shape[-1]
        except Failed as e:
            raise unfit(self.source, self.kind, f"it does not run: {e}") from None
        return self

    def encode_batch(self, cells: Sequence[Any]) -> list[Tensor | Unreadable | None]:
        """`encode` of each cell, those of one shape together; an Unreadable stands in its cell's place."""
        out: list[Tensor | Unreadable | None] = [None] * len(cells)
        graph = self._given()
        ready: dict[tuple[int, ...], dict[int, NDArray]] = {}
        for i, cell in enumerate(cells):
            try:
                x = None if cell is None else self._feeding.prepared(cell, graph)
            except Unreadable as e:
                out[i] = e
                continue
            if x is not None:
                ready.setdefault(x.shape, {})[i] = x
                if len(group := ready[x.shape]) == BATCH:
                    self._run(group, out)
                    del ready[x.shape]
        for group in ready.values():
            self._run(group, out)
        return out

    def keep(self, tokens: int) -> None:
        """Means over neighbours, at most so many."""
        self.tokens = tokens

    def fingerprint(self) -> str:
        """Its settings, and the contents of the file and its tokenizer, wherever they lie."""
        form = spec(self)
        form["args"]["source"] = [
            digest(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in belonging(self.source)
        ]
        return hashlib.blake2b(json.dumps(form, sort_keys=True).encode(), digest_size=16).hexdigest()

    def save_source(self, folder: Path) -> None:
        """Write what `source` needs to be this folder: the file, weights beside it, and its tokenizer."""
        for path in belonging(self.source):
            if path.parent.resolve() != folder.resolve():
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, folder / path.name)

    def _feed(self) -> Feed:
        return plan(self.source, self.kind, self._feeding, self.options)

    def _given(self) -> GraphCodec:
        return GraphCodec(self.source, self._feed(), self.options, self.length_)

    def _run(self, group: Mapping[int, NDArray], out: list[Tensor | Unreadable | None]) -> None:
        try:
            for i, y in zip(group, self._look(list(group.values())), strict=True):
                out[i] = y
        except Failed as e:
            for i, x in group.items():
                if len(group) > 1:
                    self._run({i: x}, out)  # one of them is to blame
                else:
                    out[i] = Unreadable(f"the network in {Path(self.source).name} fails on shape {x.shape}: {e}")

    def _look(self, xs: list[NDArray]) -> list[Tensor]:
        """Arrays of one shape -> float16 (T, D) each."""
        feed = self._feed()
        step = feed.batch or len(xs)
        if step < len(xs):
            return [y for k in range(0, len(xs), step) for y in self._look(xs[k : k + step])]
        x = np.stack([*xs, *xs[-1:] * (step - len(xs))]) if feed.batched else xs[0]
        y = execute(self.source, feed, x)
        if not feed.batched or (len(y) != len(x) and len(xs) == 1 == len(x)):  # its first axis is time
            y = y[None] if y.ndim > 1 else y[None, None]
        elif len(y) != len(x):
            return [t for one in xs for t in self._look([one])]
        return [self._tokens(torch.from_numpy(y_i.astype(np.float32))) for y_i in y[: len(xs)]]

    def _tokens(self, y: Tensor) -> Tensor:
        grid = (y.shape[1], y.shape[2]) if y.ndim == 3 else None
        y_td = y.flatten(1).T if grid else y[None] if y.ndim == 1 else y
        y_td = reduce(y_td, grid, self.tokens) if self.tokens > 1 else y_td.mean(0, keepdim=True)
        top = torch.finfo(torch.float16).max
        return y_td.nan_to_num().clamp(-top, top).half()


def _feeding(kind: str) -> tuple[Feeding, bool]:
    """How cells of a kind are fed to a network, and whether they may be files."""
    from polymodal.modalities import MODALITIES

    feeding = MODALITIES[kind].onnx
    if feeding is None:
        kinds = ", ".join(k for k, m in MODALITIES.items() if m.onnx is not None)
        raise InputError(f"an ONNX file reads {kinds} columns, not {kind}")
    return feeding, MODALITIES[kind].codec.takes_files


def split_name(name: str) -> tuple[str, dict[str, str]]:
    """A file's name and the overrides behind it.

    >>> split_name("nets/a.onnx:rate=8000,output=embedding")
    ('nets/a.onnx', {'rate': '8000', 'output': 'embedding'})
    """
    head, mark, tail = name.partition(".onnx:")
    if not mark:
        return name, {}
    options = {}
    for item in tail.split(","):
        key, equals, value = item.partition("=")
        if not (key and equals and value):
            raise InputError(f"{item!r} in {name!r} is no override; write FILE.onnx:NAME=VALUE,NAME=VALUE")
        options[key.strip()] = value.strip()
    return head + ".onnx", options
