"""Downloads of public sets by name: the one place that uses the network, and only when asked.

train2014.zip.part --range requests, until all is there--> checked --> train2014.zip
"""

import gzip
import hashlib
import http.client
import shutil
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

from polymodal.data.public.catalogue import Public, Remote, find
from polymodal.errors import InputError
from polymodal.progress import Ticker, bar

TRIES = 4  # of one file in a run; a try that brings something on does not count
TIMEOUT = 30  # seconds without a byte
BLOCK = 1 << 18


class Got(NamedTuple):
    """One file. how: what its contents were checked by; new: whether anything was downloaded."""

    path: Path
    size: int
    how: str
    new: bool


def get(name: str, out: str | Path, quiet: bool = True) -> list[Got]:
    """Download the files of a set into `out`; what is there is checked and left alone, right or wrong, and a download
    that was cut is gone on with.

    Raises InputError for a set whose publisher wants to be asked, an address that does not answer, a file that is not
    what the publisher says it is; each says what to do.
    """
    public = find(name)
    if not public.files:
        raise InputError(
            f"{name} can't be downloaded by a program: {public.how}. See {public.page}; then "
            f"polymodal data read {name} FOLDER --out DIR, where FOLDER holds {public.needs}"
        )
    out = Path(out).expanduser()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise InputError(f"--out {out} can't be made: {e.strerror or e}") from e
    return [_one(remote, out, public, quiet) for remote in public.files]


def _one(remote: Remote, out: Path, public: Public, quiet: bool) -> Got:
    path, part = out / remote.name, out / f"{remote.name}.part"
    if path.exists():
        if wrong := _wrong(path, remote):
            raise InputError(
                f"{path} was there already and {wrong}; it was left as it is. Move it away, or give another --out, and "
                "run the same command again to download the publisher's; polymodal data read asks for no checksum, if "
                "this file is the one you want"
            )
        return Got(path, path.stat().st_size, _checks(remote, ""), False)
    with bar(remote.name, 1.0, quiet) as tick:
        size = _whole(remote, part, public, tick)
    if wrong := _wrong(part, remote):
        part.unlink()
        raise InputError(
            f"{remote.name} from {remote.url} {wrong}; the download was removed. Run the same command again; if it "
            "fails again, the publisher's file has changed, or something on the way replaces it"
        )
    part.replace(path)
    return Got(path, path.stat().st_size, _checks(remote, "the size that the server told" * size), True)


def _whole(remote: Remote, part: Path, public: Public, tick: Ticker) -> bool:
    """Fill `part` up to the size that the server tells; each try goes on where the last one stopped.

    Returns whether the server told one: else the end of the answer was taken for that of the file.
    """
    reason, why = 0, ""
    while reason < TRIES:
        before = _size(part)
        try:
            total = _more(remote, part, tick)
            if total is None or _size(part) >= total:
                return total is not None
            why = "the connection was cut"
        except urllib.error.HTTPError as e:
            if e.code < 500 and e.code not in (408, 416, 429):
                raise InputError(
                    f"{remote.url} answers {e.code} ({e.reason}): the publisher may have moved it. Look at "
                    f"{public.page}, put {remote.name} into {part.parent} by hand, and run the same command again"
                ) from e
            if e.code == 416:  # nothing is left to send
                if e.headers.get("Content-Range", "") == f"bytes */{before}":
                    return True
                part.unlink(missing_ok=True)  # of another version of the file
            why = f"{e.code} {e.reason}"
        except (OSError, http.client.HTTPException) as e:  # URLError, a time-out, a reset connection
            why = str(getattr(e, "reason", "") or e) or type(e).__name__
        reason = 0 if _size(part) > before else reason + 1
    have = _size(part)
    raise InputError(
        f"{remote.url} could not be downloaded ({why}); {have:,} bytes are kept in {part}: "
        "the same command goes on from there"
    )


def _more(remote: Remote, part: Path, tick: Ticker) -> int | None:
    """Ask once for what `part` lacks; how long the whole file is, None where the server does not tell."""
    start = _size(part)
    request = urllib.request.Request(remote.url, headers={"User-Agent": "polymodal"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        start, total = _span(answer, start)
        free = shutil.disk_usage(part.parent).free
        if total is not None and total - start > free:
            raise InputError(
                f"{part.parent} has {free / 1e9:.1f} GB free, {remote.name} needs {(total - start) / 1e9:.1f} GB more"
            )
        size = start
        with part.open("r+b" if start else "wb") as file:
            file.seek(start)
            while block := answer.read(BLOCK):
                file.write(block)
                size += len(block)
                tick(size / total if total else 0.0, f"{size / 1e6:,.0f} MB")
    return total


def _span(answer: Any, start: int) -> tuple[int, int | None]:
    """Where the answer starts in the file, and how long the file is; a server may ignore what was asked for."""
    if answer.status == 206:
        span, _, total = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        if span.partition("-")[0] == str(start):
            return start, int(total) if total.isdigit() else None
    length = answer.headers.get("Content-Length", "")
    if answer.status == 206:
        raise http.client.HTTPException("the server sends another part than was asked for")
    return 0, int(length) if length.isdigit() else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _wrong(file: Path, remote: Remote) -> str:
    """What is wrong with the file, as the end of a sentence about it; "" where nothing is."""
    if not file.is_file():
        return "is no file"
    if remote.md5:
        digest = _md5(file)
        return "" if digest == remote.md5 else f"has the MD5 {digest}, the publisher gives {remote.md5}"
    if file.stat().st_size == 0:
        return "is empty"
    if remote.name.endswith(".zip"):
        return _bad_zip(file)
    return _bad_gzip(file) if remote.name.endswith(".gz") else ""


def _checks(remote: Remote, size: str) -> str:
    """What a file that nothing is wrong with was checked by. size: what its size was compared with, "" for nothing."""
    if remote.md5:
        return "MD5 of the publisher"
    sums = "the archive's own sums" * remote.name.endswith((".zip", ".gz"))
    i = " and ".join(filter(None, (size, sums)))
    return f"{i or 'its not being empty'}; no checksum is published"


def _md5(file: Path) -> str:
    key = hashlib.md5(usedforsecurity=False)
    with file.open("rb") as f:
        while block := f.read(1 << 20):
            key.update(block)
    return key.hexdigest()


def _bad_zip(file: Path) -> str:
    try:
        with zipfile.ZipFile(file) as z:
            first = z.testzip()
    except (zipfile.BadZipFile, EOFError, zlib.error) as e:
        return f"is no whole zip file ({e})"
    return "" if first is None else f"is damaged (at {first})"


def _bad_gzip(file: Path) -> str:
    try:
        with gzip.open(file) as f:
            while f.read(1 << 20):
                pass
    except (OSError, EOFError, zlib.error) as e:
        return f"is no whole gzip file ({e})"
    return ""
