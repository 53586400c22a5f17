"""Where a pretrained network lies, and how it is loaded: quietly, no pickles, none of its own code run."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from threading import RLock
from typing import Any, NamedTuple

import torch
from torch import nn

from polymodal.errors import InputError
from polymodal.modalities.files import silence
from polymodal.nn import channels_last

SETTINGS = frozenset(".json .txt .model .jinja .bpe .tiktoken .vocab .spm".split())
ELSEWHERE = "weights_are_elsewhere.json"  # in a folder whose weights lie in the learner's own file
LOCK = RLock()  # cells are encoded in threads: transformers' lazy imports and its tokenizers take one at a time
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".pkl")


def resolve(source: str) -> str:
    """The folder of a pretrained network: `source` itself, or inside the installed package, or from the hub.

    Raises InputError that names the source and the ways out.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return str(check(folder).resolve())
    if folder.exists():
        raise InputError(f"{source!r} is a file; expected a folder with config.json and safetensors weights")
    return elsewhere(source)


@lru_cache(maxsize=64)
def elsewhere(name: str) -> str:
    """The folder of a network that is no folder of the user's."""
    return installed_version(name) or download(name)


def check(folder: Path) -> Path:
    """The folder, if it holds a config.json."""
    if not (folder / "config.json").is_file():
        names = sorted(p.name for p in folder.iterdir())[:8]
        raise InputError(
            f"{str(folder)!r} has no config.json; it holds {', '.join(names) or 'nothing'}. "
            "Expected a folder as transformers' save_pretrained writes it"
        )
    return folder


def installed_version(name: str) -> str | None:
    """The folder of a network that an installed Python package carries; None without such a package."""
    try:
        files = metadata.distribution(name).files or []
    except (metadata.PackageNotFoundError, ValueError):
        return None
    for file in sorted((f for f in files if f.name == "config.json"), key=lambda f: len(f.parts)):
        path = Path(str(file.locate()))
        if path.is_file() and "model_type" in path.read_text(encoding="utf-8", errors="replace"):
            return str(path.parent)
    return None


def download(name: str) -> str:
    """The hub's copy of a network: from the local cache, or downloaded because the user named it."""
    transformers()
    from huggingface_hub import snapshot_download

    try:
        with quiet():
            folder = snapshot_download(
                name,
                allow_patterns=[f"*{s}" for s in sorted(SETTINGS)] + ["*.safetensors"],
                ignore_patterns=["onnx/*", "openvino/*", "*/*.safetensors"],
                etag_timeout=5,
            )
    except Exception as e:  # huggingface_hub raises many: no network, offline, no such name, a gated one, a bad name
        why = " ".join(str(e).split())[:200]
        raise InputError(
            f"no pretrained network {name!r}: there is no such folder, no installed package of that name "
            f"carries one, and the Hugging Face hub did not give it ({type(e).__name__}: {why}). "
            "Give the path of a folder with config.json and model.safetensors, check the name, or "
            "download it first on a machine with network access"
        ) from e
    return str(check(Path(folder)))


class Tower(NamedTuple):
    """What a network is to cells of one kind: which part of it reads them, and how."""

    name: str = ""  # of the part, in a network with several, as CLIP has them
    channels_last: bool = False  # faster so
    pooled: bool = True  # the pooled output of a network without such a part was trained
    ids: bool = False  # it reads ids, so that its embedding of them comes first


class Loaded(NamedTuple):
    """A network, and whether its own pooled output means something (was trained, for what we use it for)."""

    module: nn.Module
    pooler: bool


def network(source: str, tower: Tower, fresh: bool = False) -> Loaded:
    """The network in eval(); one shared, frozen instance unless it is `fresh`, to be trained."""
    with LOCK:
        return load(resolve(source), tower) if fresh else cached(resolve(source), tower)


@lru_cache(maxsize=3)
def cached(folder: str, tower: Tower) -> Loaded:
    """One frozen instance, whoever asks."""
    net = load(folder, tower)
    if not weights_of(Path(folder)):
        raise InputError(f"{folder!r} has no weights (model.safetensors)")
    module = net.module.requires_grad_(False)
    return Loaded(channels_last(module) if tower.channels_last else module, net.pooler)


def load(folder: str, tower: Tower) -> Loaded:
    """The part of the network that is asked for; its pooler need not be among the weights."""
    whole, missing = open_source(folder)
    if absent := [k for k in missing if "pooler" not in k]:
        raise InputError(
            f"the weights in {folder!r} lack {len(absent)} of the network's tensors (such as {absent[0]}): "
            "the file is incomplete or belongs to another architecture"
        )
    part = part_of(whole, tower)
    return Loaded(part.eval(), not missing and (part is not whole or tower.pooled))


class Opened(NamedTuple):
    """A whole network, and the names of its tensors that its weights lack, in order."""

    module: nn.Module
    missing: list[str]


def open_source(source: str, architecture: str = "AutoModel") -> Opened:
    """Read the network with one of transformers' classes; from its config where a note says that weights are elsewhere.

    Raises InputError for a folder without safetensors weights, or of a network that the class does not know.
    """
    folder = resolve(source)
    weights = weights_of(Path(folder))
    if not weights and not (Path(folder) / ELSEWHERE).exists():
        pickles = sorted(p.name for p in Path(folder).iterdir() if p.suffix in PICKLES)
        raise InputError(
            f"{source!r} has no safetensors weights"
            + (f", only {', '.join(pickles)}, which may run code when read" if pickles else "")
            + "; save it again with transformers: model.save_pretrained(folder)"
        )
    form, cls = config(folder), getattr(transformers(), architecture)
    with LOCK, quiet(), explain_errors(folder):
        if not weights:
            return Opened(cls.from_config(form, dtype=torch.float32), [])
        module, info = cls.from_pretrained(
            folder,
            config=form,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    return Opened(module, sorted(info["missing_keys"]))


def part_of(whole: nn.Module, tower: Tower) -> nn.Module:
    """The part of a network that reads cells: a tower of CLIP and kin, the encoder of Whisper or T5."""
    part: nn.Module | None = getattr(whole, tower.name, None) if tower.name else None
    if part is None and getattr(whole.config, "is_encoder_decoder", False):
        part = whole.get_encoder()  # type: ignore[operator]
    return whole if part is None else part


def config(source: str) -> Any:
    """The network's config, with the noise of its pretraining (masked spans, dropped layers) turned off."""
    folder = resolve(source)
    with quiet(), explain_errors(folder):
        form = transformers().AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    for name in ("mask_time_prob", "mask_feature_prob", "layerdrop"):
        if hasattr(form, name):
            setattr(form, name, 0.0)
    return form


def processor(source: str, auto: str) -> Any:
    """What prepares cells for the network, read with this class of transformers: "AutoImageProcessor" ..."""
    with LOCK:
        return _processor(resolve(source), auto)


@lru_cache(maxsize=16)
def _processor(folder: str, auto: str) -> Any:
    with quiet(), explain_errors(folder):
        cls = getattr(transformers(), auto)
        return cls.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def tokenizer(source: str) -> Any:
    """The tokenizer of a network that reads or writes text."""
    return processor(source, "AutoTokenizer")


def transformers() -> Any:
    """The library, imported where it is used."""
    try:
        import transformers as hub
    except ImportError as e:
        raise ImportError("pretrained networks need transformers: pip install polymodal[hub]") from e
    return hub


@contextmanager
def explain_errors(folder: str) -> Iterator[None]:
    """What transformers raises on a folder that it can't use, as an error that says which and why."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as e:
        chain: list[str] = []
        link: BaseException | None = e
        while link is not None:
            chain, link = [*chain, str(link)], link.__cause__ or link.__context__
        if any("torchvision" in text or "Could not import module" in text for text in chain):
            raise ImportError(
                "transformers can't load its classes because the installed torchvision does not fit torch: "
                "pip uninstall torchvision (polymodal does not need it)"
            ) from e
        why = " ".join(str(e).split())[:300]
        raise InputError(f"transformers can't load {folder!r}: {type(e).__name__}: {why}") from e


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' log lines, load reports, progress bars and warnings."""
    log = transformers().utils.logging
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        with silence:
            yield
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()


def pooling(source: str) -> set[str]:
    """How a sentence-transformers folder makes one vector of the tokens: of "cls" and "normalize"."""
    folder, how = Path(resolve(source)), set()
    steps = read_json(folder / "modules.json", [])
    for step in steps if isinstance(steps, list) else []:
        kind = str(step.get("type", "")).rsplit(".", 1)[-1]
        if kind == "Normalize":
            how.add("normalize")
        elif kind == "Pooling" and read_json(folder / step.get("path", "") / "config.json", {}).get(
            "pooling_mode_cls_token"
        ):
            how.add("cls")
    return how


def read_json(path: Path, otherwise: Any) -> Any:
    """What the file says, or `otherwise` where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else otherwise


def weights_of(folder: Path) -> list[Path]:
    """The safetensors files of a folder."""
    return sorted(folder.glob("*.safetensors"))


def settings_of(folder: Path) -> list[Path]:
    """Config, tokenizer and processor files of a folder, and those of sentence-transformers below it."""
    files = [*folder.iterdir(), *folder.glob("[0-9]_*/*.json")]
    return sorted(p for p in files if p.is_file() and p.suffix in SETTINGS and p.name != ELSEWHERE)


def copy(source: str, target: Path, weights: bool) -> None:
    """Copy a network's settings, and its weights if asked, so that `target` can stand in for `source`."""
    folder = Path(resolve(source))
    if folder.resolve() == target.resolve():
        return
    for file in settings_of(folder) + (weights_of(folder) if weights else []):
        if not weights and file.name.endswith(".safetensors.index.json"):
            continue
        place = target / file.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)


def check_written(folder: Path) -> None:
    """Note in a folder that its weights lie in the learner's own file."""
    note = {"weights": "in the safetensors file of the model that this folder belongs to"}
    (folder / ELSEWHERE).write_text(json.dumps(note) + "\n", encoding="utf-8")


def digest(source: str, weights: bool) -> str:
    """A hash of the contents of a network's files."""
    folder = Path(resolve(source))
    files = settings_of(folder) + (weights_of(folder) if weights else [])
    stamps = tuple((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files)
    return _digest(str(folder), stamps)


@lru_cache(maxsize=32)
def _digest(folder: str, stamps: tuple[tuple[str, int, int], ...]) -> str:
    key = hashlib.blake2b(digest_size=16)
    for name, size, _ in stamps:
        key.update(f"{Path(name).relative_to(folder)} {size} ".encode())
        with Path(name).open("rb") as f:
            while block := f.read(1 << 20):
                key.update(block)
    return key.hexdigest()
