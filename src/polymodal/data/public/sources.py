"""Files of a publisher, in folders or inside zip files that nobody has to extract."""

import codecs
import gzip
import os
import re
import unicodedata
import zipfile
import zlib
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from polymodal.errors import InputError

JUNK = ("__MACOSX", ".DS_Store")  # what macOS adds to archives
ILLEGAL = r'[:?"*<>|\\/]'  # not allowed on every file system; extractors replace them


class Entry(NamedTuple):
    """One file. path: its place below the folder, or in the zip file; member: its name in the zip `file`, "" where
    `file` is the thing itself."""

    path: str
    size: int
    file: str
    member: str = ""

    @property
    def base(self) -> str:
        """Its name without folders."""
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> str:
        """The name of the folder that it is in, "" where that is the top."""
        return self.path.rpartition("/")[0].rpartition("/")[2]

    def read(self) -> bytes:
        """Its bytes, unpacked where it is a .gz. Raises InputError for one that is cut short or damaged."""
        try:
            if self.member:
                with zipfile.ZipFile(self.file) as z:
                    data = z.read(self.member)
            else:
                data = Path(self.file).read_bytes()
            return gzip.decompress(data) if self.path.endswith(".gz") else data
        except (zipfile.BadZipFile, EOFError, zlib.error, gzip.BadGzipFile, RuntimeError) as e:
            raise InputError(f"{self.name()} is damaged or cut short ({e}): download it again") from e
        except OSError as e:
            raise InputError(f"{self.name()} can't be read: {e.strerror or e}") from e

    def text(self) -> str:
        """Its text, with "\\n" between lines. Raises InputError where it is not UTF-8."""
        try:
            return self.read().removeprefix(codecs.BOM_UTF8).decode().replace("\r\n", "\n")
        except UnicodeDecodeError as e:
            raise InputError(f"{self.name()} is not UTF-8 (at byte {e.start}): download it again") from e

    def lines(self) -> list[str]:
        """Its lines; not those that are parted by rarer signs, which may stand inside a caption."""
        return self.text().removesuffix("\n").split("\n")

    def name(self) -> str:
        """What a person calls it."""
        return f"{self.member} in {self.file}" if self.member else self.file


class Source:
    """All files below a folder, and in the zip files there; or those of one zip file. Extracted files come first."""

    def __init__(self, place: Path) -> None:
        self.place = place
        names = _walk(place)
        self.entries = sorted(names, key=lambda e: bool(e.member))
        self._named: defaultdict[str, list[Entry]] = defaultdict(list)
        self._loosely: defaultdict[str, list[Entry]] = defaultdict(list)
        for e in self.entries:
            self._named[e.base].append(e)
            self._loosely[_loose(e.base)].append(e)

    def find(self, *names: str) -> Entry | None:
        """The file of the first of these names that there is, packed by gzip or not."""
        for name in names:
            for form in (name, f"{name}.gz"):
                if paths := self._named.get(form):
                    return paths[0]
        return None

    def need(self, *names: str) -> Entry:
        """As `find`; raises InputError, naming what is there, where there is none."""
        path = self.find(*names)
        if path is None:
            raise InputError(f"{self.place} has no {' or '.join(names)}, {self.holds()}")
        return path

    def media(self, name: str, folder: str = "") -> Entry | None:
        """The picture or recording of this name: in a folder whose name holds `folder`, else in any.

        Names are compared first as they are, then in NFC with what some file systems forbid replaced. An empty file is
        none: a download that was cut off.
        """
        for paths in (self._named.get(name, ()), self._loosely.get(_loose(name), ())):
            real = [e for e in paths if e.size]
            for e in real:
                if folder and any(folder in p for p in e.path.split("/")[:-1]):
                    return e
            if real:
                return real[0]
        return None

    def holds(self) -> str:
        """What a person sees there, for a message."""
        parts = {Path(e.file).name if e.member else e.path.partition("/")[0] for e in self.entries}
        if self.place.is_dir():
            parts |= {p.name for p in self.place.iterdir()}
        names = sorted(n for n in parts if not _junk(n))
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        return f"it holds {', '.join(names[:8])}{more}" if names else "it is empty"


def _walk(place: Path) -> list[Entry]:
    if place.is_file():
        return _members(place)
    if not place.is_dir():
        raise InputError(
            f"no such folder: {place}; give the folder that holds what the publisher ships, or one zip file"
        )
    out: list[Entry] = []
    for folder, folders, files in os.walk(place):
        folders[:] = sorted(d for d in folders if d not in JUNK)
        below = Path(folder).relative_to(place).as_posix()
        for name in sorted(files):
            file = os.path.join(folder, name)  # noqa: PTH118  # a hundred thousand photos: Path takes ten times as long
            path = name if below == "." else f"{below}/{name}"
            if name.lower().endswith(".zip"):
                out += _members(Path(file))
            elif not _junk(path):
                out.append(Entry(path, os.stat(file).st_size, file))  # noqa: PTH116
    return out


def _members(file: Path) -> list[Entry]:
    try:
        with zipfile.ZipFile(file) as z:
            infos = z.infolist()
    except zipfile.BadZipFile as e:
        size = file.stat().st_size
        raise InputError(
            f"{file} is no whole zip file ({size:,} bytes; {e}): the download was cut short; get it again"
        ) from e
    except OSError as e:
        raise InputError(f"{file} can't be read: {e.strerror or e}") from e
    whole = [i for i in infos if not i.is_dir() and not _junk(i.filename)]
    return [Entry(i.filename, i.file_size, str(file), i.filename) for i in whole]


def _junk(path: str) -> bool:
    return path.rpartition("/")[2].startswith("._") or any(p in JUNK for p in path.split("/"))


def _loose(name: str) -> str:
    return re.sub(ILLEGAL, "_", unicodedata.normalize("NFC", name)).strip()
