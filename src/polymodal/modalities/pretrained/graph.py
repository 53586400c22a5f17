"""An ONNX file: loading it, and reading from the shapes of its inputs and outputs how a column is fed to it.

Letters of a layout: N batch, T token or reading, S sample, C channel, H height, W width.
"""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polymodal.errors import InputError, Unreadable
from polymodal.modalities.pretrained.source import LOCK

TYPES: dict[str, Any] = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
TYPES |= {"tensor(uint8)": np.uint8, "tensor(int64)": np.int64, "tensor(int32)": np.int32}
PREFERRED = ("embed", "hidden", "feature")  # in the name of an output: what the network saw, not what it decided
BESIDE = ("attention_mask", "token_type_ids")  # what a network may ask for beside ids


class Failed(Exception):
    """onnxruntime's error while it runs a network."""


class Feed(NamedTuple):
    """How a network is fed: the input's name, type and layout; what its shape fixes; the output that is read."""

    input: str
    output: str
    dtype: Any
    layout: str
    batch: int | None  # rows of a fixed batch axis
    length: int | None  # samples, or readings
    channels: int | None
    sides: tuple[int, int]
    beside: tuple[tuple[str, Any], ...]  # other inputs of a network that reads ids: name, type

    @property
    def batched(self) -> bool:
        """Whether there is a batch axis."""
        return self.layout.startswith("N")


class GraphCodec(NamedTuple):
    """What is known where a cell is prepared. tokens: ids that are kept."""

    source: str
    feed: Feed
    options: Mapping[str, str]
    tokens: int

    def channels(self, x: NDArray) -> NDArray:
        """The array, if it is as wide as the network takes it; else raises Unreadable."""
        if self.feed.channels is not None and x.shape[-1] != self.feed.channels:
            raise Unreadable(f"{x.shape[-1]} numbers a reading; the network takes {self.feed.channels}")
        return x


class Feeding(NamedTuple):
    """How a network is fed cells of one kind. layouts: orders of axes that its input may have. more: overrides beside
    those of every kind.

    prepared(cell, given): the array, without the batch axis; None where the cell holds nothing; raises Unreadable.
    blank(given): the same of no cell. ids: whether it is whole numbers, beside which a network may ask for a mask.
    channels: how many an input with axis C has, where that is the same for all networks.
    """

    layouts: tuple[str, ...]
    prepared: Callable[[Any, GraphCodec], NDArray | None]
    blank: Callable[[GraphCodec], NDArray]
    more: tuple[str, ...] = ()
    ids: bool = False
    channels: int | None = None

    @property
    def options(self) -> list[str]:
        """The names of all overrides."""
        return ["input", "output", *(["layout"] if len(self.layouts) > 1 else []), *self.more]

    def matches(self, layout: str, shape: Sequence[Any]) -> bool:
        """Whether a shape may have this layout: the rank is right, and the channels are as many as they must be."""
        if len(layout) != len(shape):
            return False
        return self.channels is None or shape[layout.index("C")] == self.channels


def plan(source: str, kind: str, feeding: Feeding, options: Mapping[str, str]) -> Feed:
    """Read from the inputs' shapes how to feed the network. Raises InputError where they do not say."""
    net = session(source)
    inputs = {i.name: i for i in net.get_inputs()}
    beside = [n for n in inputs if feeding.ids and n in BESIDE]
    main = [n for n in inputs if n not in beside]
    name = options.get("input", main[0] if len(main) == 1 else "input_ids" if feeding.ids else "")
    if name not in inputs:
        raise unfit(source, kind, f"{name!r} is no input" if name else "it has several inputs", "input=NAME")
    if more := [n for n in main if n != name]:
        raise unfit(source, kind, f"nothing is known to feed {', '.join(more)} with; export it without")
    shape, dtype = inputs[name].shape, TYPES.get(inputs[name].type)
    fits = [k for k in feeding.layouts if feeding.matches(k, shape)]
    layout = options.get("layout", fits[0] if fits else "").upper()
    if layout not in feeding.layouts or len(layout) != len(shape):
        way = f"layout={' or '.join(feeding.layouts)}" if "layout" in feeding.options else ""
        raise unfit(source, kind, f"{name} of shape {shape_text(shape)} is not {' or '.join(feeding.layouts)}", way)
    if dtype is None or (np.dtype(dtype).kind != "f") != (feeding.ids or dtype is np.uint8):
        raise unfit(source, kind, f"{name} is a {inputs[name].type}")
    size = {a: v if isinstance(v, int) and v > 0 else None for a, v in zip(layout, shape, strict=True)}
    side = int(number(options, "size", 224))
    return Feed(
        name, choose_output(source, kind, options), dtype, layout, 1 if layout == "S" else size.get("N"),
        size.get("S") or size.get("T"), size.get("C"), (size.get("H") or side, size.get("W") or side),
        tuple((n, TYPES.get(inputs[n].type, np.int64)) for n in beside),
    )  # fmt: skip


def choose_output(source: str, kind: str, options: Mapping[str, str]) -> str:
    """The output that is read: the one asked for, the first named like TOLD, or the last, of floats with two axes."""
    outputs = session(source).get_outputs()
    floats = [o.name for o in outputs if np.dtype(TYPES.get(o.type, np.int64)).kind == "f" and len(o.shape) != 1]
    preferred = [n for n in floats if any(t in n.lower() for t in PREFERRED)]
    name = options.get("output", (preferred or floats[-1:] or [""])[0])
    if name not in {o.name for o in outputs}:
        raise unfit(source, kind, f"{name!r} is no output" if name else "no output is a vector", "output=NAME")
    return str(name)


def execute(source: str, feed: Feed, x: NDArray) -> NDArray:
    """The output's array for an input. Raises Failed."""
    feeds = {feed.input: x.astype(feed.dtype)}
    for name, dtype in feed.beside:
        feeds[name] = (np.ones if name == "attention_mask" else np.zeros)(x.shape, dtype=dtype)
    try:
        (y,) = session(source).run([feed.output], feeds)
    except Exception as e:  # onnxruntime raises many of its own
        raise Failed(" ".join(str(e).split())[:200]) from None
    return np.asarray(y)


def unfit(source: str, kind: str, why: str, way: str = "") -> InputError:
    """The error for a network that can't be fed: names its inputs and outputs, and the override."""
    net = session(source)

    def ports_text(ports: Sequence[Any]) -> str:
        return ", ".join(f"{p.name} {shape_text(p.shape)} {p.type}" for p in ports)

    hint = f"; add an override: {locate(source).name}:{way}" if way else ""
    return InputError(
        f"{locate(source).name} can't be fed with {kind}: {why}. Its inputs: {ports_text(net.get_inputs())}; "
        f"its outputs: {ports_text(net.get_outputs())}{hint}"
    )


def shape_text(shape: Sequence[Any]) -> str:
    """A shape, with "?" where it is open.

    >>> shape_text(["batch", 3, None])
    '(batch, 3, ?)'
    """
    return f"({', '.join('?' if v is None else str(v) for v in shape)})"


def session(source: str) -> Any:
    """The network, loaded once."""
    path = locate(source)
    with LOCK:
        return load(str(path), path.stat().st_mtime_ns)


@lru_cache(maxsize=3)
def load(path: str, stamp: int) -> Any:
    """One session on the CPU."""
    try:
        import onnxruntime
    except ImportError as e:
        raise ImportError("ONNX files need onnxruntime: pip install polymodal[export]") from e
    onnxruntime.disable_telemetry_events()
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4  # what goes wrong is raised
    threads = os.environ.get("OMP_NUM_THREADS", "")
    settings.intra_op_num_threads, settings.inter_op_num_threads = int(threads) if threads.isdecimal() else 0, 1
    try:
        return onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    except Exception as e:  # onnxruntime raises many of its own
        raise InputError(f"{path} can't be read as an ONNX file ({' '.join(str(e).split())[:200]})") from None


def locate(source: str) -> Path:
    """The .onnx file: `source` itself, or the only one in that folder."""
    path = Path(source).expanduser()
    if path.is_dir():
        files = sorted(path.glob("*.onnx"))
        if len(files) != 1:
            raise InputError(f"{source} holds {len(files)} .onnx files; name one of them")
        return files[0]
    if not path.is_file():
        raise InputError(f"there is no file {source}; give the path of an .onnx file")
    return path


def belonging(source: str) -> list[Path]:
    """The file, weights kept beside it (model.onnx.data, model.onnx_data), and its tokenizer."""
    path = locate(source)
    beside = [
        p for p in path.parent.iterdir() if p.name in (f"{path.name}.data", f"{path.name}_data", "tokenizer.json")
    ]
    return [path, *sorted(p for p in beside if p.is_file())]


@lru_cache(maxsize=32)
def digest(path: str, size: int, stamp: int) -> str:
    """A hash of a file's content."""
    with Path(path).open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


# --- options ---


def number(options: Mapping[str, str], name: str, otherwise: float) -> float:
    """An option that is one number above 0."""
    x = values(options, name, otherwise)
    if x.size != 1 or not x.item() > 0:
        raise InputError(f"ONNX option {name}={options[name]!r}; expected a number above 0")
    return float(x.item())


def values(options: Mapping[str, str], name: str, otherwise: float) -> NDArray[np.float32]:
    """An option that is one number, or one for each of three channels, parted by "/"."""
    try:
        x = np.array([float(v) for v in options.get(name, str(otherwise)).split("/")], dtype=np.float32)
    except ValueError:
        x = np.zeros(0, dtype=np.float32)
    if x.size not in (1, 3) or not np.isfinite(x).all() or (name == "std" and not x.all()):
        raise InputError(f"ONNX option {name}={options[name]!r}; expected a number, or three as 0.5/0.4/0.3")
    return x


def to_length(x: NDArray, length: int | None) -> NDArray:
    """Cut, or padded with zeros at the end, to a fixed length."""
    if length is None:
        return x
    return np.pad(x[:length], [(0, max(0, length - len(x)))] + [(0, 0)] * (x.ndim - 1))
