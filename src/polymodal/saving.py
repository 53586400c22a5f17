"""Files that are there whole or not at all."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from polymodal.errors import InputError


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


def replace_path(path: Path) -> None:
    """Raises InputError where no file can come to be here, so that nobody waits for one in vain."""
    if path.is_dir():
        raise InputError(f"--out {path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise InputError(f"--out {path}: there is no folder {path.parent}; make it, or name another file")
