"""Files that are there whole or not at all."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


def json_text(form: Any, default: Callable[[Any], Any] | None = None) -> str:
    """JSON as people read it; all in ASCII where it holds half of a character (a lone surrogate), which no file can.

    >>> print(json_text("ü"), json_text(chr(0xD83D)))
    "ü" "\\ud83d"
    """
    text = json.dumps(form, indent=1, ensure_ascii=False, default=default)
    return text if text.encode("utf-8", "replace").decode() == text else json.dumps(form, indent=1, default=default)


def put(path: Path, data: bytes) -> None:
    """Write beside the file's place, then move it there. Raises InputError, naming the file, where that can't be."""
    temporary = path.with_name(path.name + ".part")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as e:
        raise InputError(f"{path} can't be written: {e.strerror or e}") from None
    finally:
        if temporary.is_file():
            temporary.unlink()


def put_tensors(path: Path, tensors: "Mapping[str, Tensor]", metadata: Mapping[str, str] | None = None) -> None:
    """A safetensors file, written beside its place and moved there; its mode is that of any new file (by umask)."""
    from safetensors.torch import save_file

    temporary = path.with_name(path.name + ".tmp")
    temporary.touch()
    mode = temporary.stat().st_mode
    # clone: safetensors refuses tensors that share memory, and makes a new file that its owner alone may read
    whole = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
    save_file(whole, temporary, metadata=None if metadata is None else dict(metadata))
    temporary.chmod(mode)
    temporary.replace(path)


def replace_path(path: Path) -> None:
    """Raises InputError where no file can come to be here, so that nobody waits for one in vain."""
    if path.is_dir():
        raise InputError(f"--out {path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise InputError(f"--out {path}: there is no folder {path.parent}; make it, or name another file")
