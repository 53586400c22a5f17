"""Public sets in the forms of their publishers, made small here, become our tables; downloads from a server of our own."""

import csv
import gzip
import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from conftest import Run
from polymodal.cli import app
from polymodal.data.public import SETS, catalogue, fetch, get, read
from polymodal.data.public.catalogue import Public, Remote
from polymodal.data.schema import Schema
from polymodal.data.table import Table, is_file, resolve
from polymodal.errors import InputError

Files = dict[str, bytes]


def jpeg(shade: int = 0) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 6), (shade % 256, 90, 30)).save(out, "JPEG")
    return out.getvalue()


def put(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def packed(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name, content in files.items():
            z.writestr(name, content)
    return out.getvalue()


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


def lines(*texts: str) -> bytes:
    return ("\n".join(texts) + "\n").encode()


NAMES = {"train": ["10_a.jpg", "11_b.jpg", "12_c.jpg"], "dev": ["20_d.jpg"], "test": ["30_e.jpg", "31_f.jpg"]}
PHOTOS = [name for names in NAMES.values() for name in names]
# the last number first: captions are in the order of their numbers, not of their lines
TOKENS = [f"{p}#{i}\tcaption {i} of {p[:2]}, “so” ." for p in [*PHOTOS, "99_unused.jpg"] for i in (4, 0, 1, 2, 3)]


def flickr8k_parts() -> tuple[Files, Files]:
    photos = {f"Flicker8k_Dataset/{p}": jpeg(i) for i, p in enumerate(PHOTOS)}
    lists = {f"Flickr_8k.{part}Images.txt": lines(*names) for part, names in NAMES.items()}
    junk = {"__MACOSX/Flickr8k.token.txt": b"\0\1", "._Flickr_8k.devImages.txt": b"\0", "readme.txt": b"hello"}
    return photos, {**junk, "Flickr8k.token.txt": lines(*TOKENS), **lists}


def karpathy(folder: Mapping[str, str], splits: Mapping[str, str]) -> bytes:
    images = [
        {"filename": p, "split": s, "sentences": [{"raw": f" words\n{i}  of {p}"} for i in range(2 + (p > "2"))]}
        | ({"filepath": folder[p]} if folder else {})
        for p, s in splits.items()
    ]
    return json.dumps({"images": images}).encode()


@pytest.fixture
def flickr8k(tmp_path: Path) -> Path:
    photos, texts = flickr8k_parts()
    return put(put(tmp_path / "flickr8k", photos), {f"Flickr8k_text/{k}": v for k, v in texts.items()})


# --- reading ------------------------------------------------------------------------------------------


def test_flickr8k_becomes_one_row_a_photo(flickr8k: Path, tmp_path: Path) -> None:
    found = read("flickr8k", flickr8k, tmp_path / "out")
    assert found.rows == {"train": 3, "val": 1, "test": 2} and found.captions["train"] == 15
    assert (found.unused, found.skipped, found.extracted) == (5, 0, 0)
    table = rows(found.tables["test"])
    assert [r["image"] for r in table] == [f"../flickr8k/Flicker8k_Dataset/{p}" for p in NAMES["test"]]
    assert list(table[0]) == found.columns["test"] == ["image", *(f"caption_{i}" for i in range(5))]
    assert [table[1][f"caption_{i}"] for i in range(5)] == [f"caption {i} of 31, “so” ." for i in range(5)]
    note = json.loads((tmp_path / "out/public_set.json").read_text())
    assert note["set"] == "flickr8k" and note["licence"] == SETS["flickr8k"].licence


def test_the_table_is_read_like_any_other(flickr8k: Path, tmp_path: Path) -> None:
    found = read("flickr8k", flickr8k, tmp_path / "out")
    table = Table.read(found.tables["train"])
    assert all(is_file(resolve(cell, table.folder)) for cell in table.cells("image"))
    schema = Schema.infer(table, target=["caption_0"])
    assert schema.columns["image"].kind == "image"


@pytest.mark.parametrize("nested", [True, False], ids=["folder of zips", "one zip"])
def test_zip_files_are_read_without_being_extracted_elsewhere(nested: bool, tmp_path: Path) -> None:
    photos, texts = flickr8k_parts()
    if nested:
        place = put(tmp_path / "in", {"Flickr8k_Dataset.zip": packed(photos), "Flickr8k_text.zip": packed(texts)})
    else:
        place = put(tmp_path / "in", {"all.zip": packed(photos | texts)}) / "all.zip"
    before = sorted((tmp_path / "in").rglob("*"))
    found = read("flickr8k", place, tmp_path / "out")
    assert found.extracted == 6 and sorted((tmp_path / "in").rglob("*")) == before
    table = rows(found.tables["train"])
    assert [r["image"] for r in table] == [f"images/Flicker8k_Dataset/{p}" for p in NAMES["train"]]
    for row, i in zip(table, range(3), strict=True):
        assert (tmp_path / "out" / row["image"]).read_bytes() == jpeg(i)
    assert len(list((tmp_path / "out").rglob("*.jpg"))) == 6
    (tmp_path / "out" / table[0]["image"]).write_bytes(b"cut")
    again = read("flickr8k", place, tmp_path / "out")  # only what is not whole is extracted again
    assert again.extracted == 1 and (tmp_path / "out" / table[0]["image"]).read_bytes() == jpeg(0)


def test_a_path_in_an_archive_can_not_leave_the_folder(tmp_path: Path) -> None:
    photos, texts = flickr8k_parts()
    evil = {f"../../{k}" if i % 2 else f"../{Path(k).name}": v for i, (k, v) in enumerate(photos.items())}
    put(tmp_path / "in", {"a.zip": packed(evil), "b.zip": packed(texts)})
    read("flickr8k", tmp_path / "in", tmp_path / "deep/out")
    written = {p for p in tmp_path.rglob("*.jpg")}
    assert len(written) == 6 and all((tmp_path / "deep/out/images") in p.parents for p in written)


@pytest.mark.parametrize("name", ["flickr8k", "flickr30k"])
def test_karpathys_split_of_flickr(name: str, tmp_path: Path) -> None:
    splits = {"10_a.jpg": "train", "20_d.jpg": "val", "30_e.jpg": "test"}
    place = put(
        tmp_path / "in", {f"pictures/{p}": jpeg() for p in splits} | {f"dataset_{name}.json": karpathy({}, splits)}
    )
    found = read(name, place, tmp_path / "out")
    assert found.rows == {"train": 1, "val": 1, "test": 1}
    (row,) = rows(found.tables["val"])
    assert row == {"image": "../in/pictures/20_d.jpg"} | {f"caption_{i}": f"words {i} of 20_d.jpg" for i in range(3)}
    assert found.columns["train"] == ["image", "caption_0", "caption_1"]


def test_a_name_like_a_list_of_numbers_beside_the_tables(tmp_path: Path) -> None:
    splits = {"[1].jpg": "train", " 2 .jpg": "val", "3.jpg": "test"}
    put(tmp_path, {p: jpeg() for p in splits} | {"dataset_flickr8k.json": karpathy({}, splits)})
    for path in read("flickr8k", tmp_path, tmp_path).tables.values():
        table = Table.read(path)
        assert all(is_file(resolve(cell, table.folder)) for cell in table.cells("image"))


def test_flickr30k_has_no_split_of_its_own(tmp_path: Path) -> None:
    names = [f"{i}.jpg" for i in range(70)]
    token = lines(*(f"{p}#{i}\ta caption of {p}" for p in names for i in range(5)))
    place = put(tmp_path / "in", {f"flickr30k_images/{p}": jpeg() for p in names} | {"results_20130124.token": token})
    with pytest.raises(InputError, match=r"captions but no split.*dataset_flickr30k\.json there.*--split random"):
        read("flickr30k", place, tmp_path / "out")
    found = read("flickr30k", place, tmp_path / "out", split="random")
    assert found.rows == {"train": 66, "val": 2, "test": 2} and "can't be compared" in found.notes[0]
    parts = [{r["image"] for r in rows(path)} for path in found.tables.values()]
    assert len(set.union(*parts)) == 70
    (place / "results_20130124.token").write_bytes(lines(*reversed(token.decode().splitlines())))
    again = read("flickr30k", place, tmp_path / "out", split="random")
    assert [{r["image"] for r in rows(path)} for path in again.tables.values()] == parts


COCO = {"COCO_train2014_000000000009.jpg": "train", "COCO_val2014_000000000042.jpg": "restval",
        "COCO_val2014_000000000073.jpg": "val", "COCO_val2014_000000000074.jpg": "test"}  # fmt: skip


def test_restval_of_coco_is_for_training(tmp_path: Path) -> None:
    folders = {p: p.split("_")[1] for p in COCO}
    files = {f"{folders[p]}/{p}": jpeg() for p in COCO} | {"dataset_coco.json": karpathy(folders, COCO)}
    found = read("coco", put(tmp_path / "in", files), tmp_path / "out")
    assert found.rows == {"train": 2, "val": 1, "test": 1}
    assert [r["image"] for r in rows(found.tables["train"])] == [f"../in/{folders[p]}/{p}" for p in list(COCO)[:2]]


def test_photos_of_2017_serve_for_karpathys_split(tmp_path: Path) -> None:
    files = {f"train2017/{p.rpartition('_')[2]}": jpeg() for p in COCO}
    files["dataset_coco.json"] = karpathy({p: p.split("_")[1] for p in COCO}, COCO)
    found = read("coco", put(tmp_path / "in", files), tmp_path / "out")
    assert rows(found.tables["test"])[0]["image"] == "../in/train2017/000000000074.jpg"


def coco_annotations(first: int) -> bytes:
    images = [{"id": first + i, "file_name": f"{first + i:012}.jpg"} for i in range(3)]
    texts = [{"id": 9 - i, "image_id": first + i % 2, "caption": f"a caption {i}\n"} for i in range(4)]
    return json.dumps({"images": images, "annotations": texts}).encode()


def test_cocos_own_annotations(tmp_path: Path) -> None:
    files = {f"annotations/captions_{p}2017.json": coco_annotations(n) for p, n in (("train", 1), ("val", 100))}
    files |= {f"{p}2017/{n + i:012}.jpg": jpeg() for p, n in (("train", 1), ("val", 100)) for i in range(3)}
    found = read("coco", put(tmp_path / "in", files), tmp_path / "out")
    assert found.rows == {"train": 2, "val": 2}  # a photo without a caption is no row
    first = rows(found.tables["train"])[0]
    assert first == {
        "image": "../in/train2017/000000000001.jpg",
        "caption_0": "a caption 2",
        "caption_1": "a caption 0",
    }


ODD = ["Rain : on a tin roof?.wav", "caf\u00e9 & \u201cbar\u201d, 1 #2.wav", "same.wav"]


def clotho_files() -> Files:
    out: Files = {}
    for part in ("development", "validation", "evaluation"):
        text = io.StringIO(newline="")
        table = csv.writer(text)
        table.writerow(["file_name", *(f"caption_{i}" for i in range(1, 6))])
        table.writerows([name, *(f"{part} sound, {i}" for i in range(1, 6))] for name in ODD)
        out[f"clotho_captions_{part}.csv"] = text.getvalue().encode()
    return out


def test_clotho_with_odd_names_and_one_name_in_every_split(tmp_path: Path) -> None:
    stored = [
        "Rain _ on a tin roof_.wav",
        "cafe\u0301 & \u201cbar\u201d, 1 #2.wav",
        "same.wav",
    ]  # as an extractor left them
    audio = {
        f"clotho_audio_files/{p}/{n}": b"RIFF" for p in ("development", "validation", "evaluation") for n in stored
    }
    found = read("clotho", put(tmp_path / "in", clotho_files() | audio), tmp_path / "out")
    assert found.rows == {"train": 3, "val": 3, "test": 3}
    assert found.columns["val"] == ["audio", *(f"caption_{i}" for i in range(5))]
    table = Table.read(found.tables["val"])
    cells = table.cells("audio")
    assert cells == [f"../in/clotho_audio_files/validation/{n}" for n in stored]
    assert all(is_file(resolve(c, table.folder)) for c in cells)
    assert table.cells("caption_4")[0] == "validation sound, 5"


def multi30k_files(pack: bool = False) -> Files:
    def stored(name: str, text: bytes) -> Files:
        return {f"raw/{name}.gz": gzip.compress(text)} if pack else {name: text}

    out: Files = {}
    for part, n in (("train", 3), ("val", 1), ("test_2016_flickr", 2), ("test_2017_mscoco", 1)):
        for x in ("de", "en") if "2017" in part else ("cs", "de", "en"):
            out |= stored(f"{part}.{x}", lines(*(f"{x} \u2028 {part} {i}" for i in range(n))))
        out[f"image_splits/{part}.txt"] = lines(*(f"{part}{i}.jpg" for i in range(n)))
    return out


@pytest.mark.parametrize("pack", [False, True], ids=["text", "gz"])
def test_multi30k_is_a_column_a_language(pack: bool, tmp_path: Path) -> None:
    found = read("multi30k", put(tmp_path / "in", multi30k_files(pack)), tmp_path / "out")
    assert found.rows == {"train": 3, "val": 1, "test": 2, "test_2017_mscoco": 1}
    assert found.columns["train"] == ["en", "cs", "de"] and found.columns["test_2017_mscoco"] == ["en", "de"]
    # a rare line separator inside a caption parts no lines, and is white space in ours
    assert rows(found.tables["test"])[1] == {x: f"{x} test_2016_flickr 1" for x in ("en", "cs", "de")}
    assert "without photos" in found.notes[0]


def test_multi30k_with_photos(tmp_path: Path) -> None:
    files = multi30k_files()
    photos = {
        f"flickr30k-images/{n}": jpeg() for k, v in files.items() if k.endswith(".txt") for n in v.decode().split()
    }
    found = read("multi30k", put(tmp_path / "in", files | photos), tmp_path / "out")
    assert found.columns["train"] == ["image", "en", "cs", "de"] and not found.notes
    assert rows(found.tables["train"])[2]["image"] == "../in/flickr30k-images/train2.jpg"


# --- what is missing ----------------------------------------------------------------------------------


def broken(tmp_path: Path, name: str, files: Files) -> Callable[[], object]:
    place = put(tmp_path / "in", files)
    return lambda: read(name, place, tmp_path / "out")


def all_flickr8k() -> Files:
    photos, texts = flickr8k_parts()
    return photos | texts


def test_absent_photos_are_counted_and_may_be_left_out(flickr8k: Path, tmp_path: Path) -> None:
    (flickr8k / "Flicker8k_Dataset/11_b.jpg").unlink()
    (flickr8k / "Flicker8k_Dataset/31_f.jpg").write_bytes(b"")  # a download that was cut off
    with pytest.raises(InputError, match=r"^2 of 6 photos are absent or empty files in .*flickr8k, such as 11_b.jpg, 31_f.jpg; "
                       r"it holds Flicker8k_Dataset, Flickr8k_text: get them again, or leave their rows out: --skip-missing$"):  # fmt: skip
        read("flickr8k", flickr8k, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    found = read("flickr8k", flickr8k, tmp_path / "out", skip=True)
    assert found.rows == {"train": 2, "val": 1, "test": 1} and found.skipped == 2
    assert len(rows(found.tables["train"])) == 2


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("flickr8k", {"Flickr8k.token.txt": None}, r"has no Flickr8k\.token\.txt, it holds Flicker8k_Dataset, Flickr_8k\.dev"),
        (
            "flickr8k",
            {"Flickr_8k.devImages.txt": None, "Flickr_8k.testImages.txt": None},
            r"has no Flickr_8k\.devImages\.txt, Flickr_8k\.testImages\.txt, it holds .*; they come with Flickr8k_text\.zip",
        ),
        ("flickr8k", {"Flickr8k.token.txt": lines(*TOKENS) + b"99_unus"}, r"line 36: .* is not of the form name\.jpg#0<tab>caption"),
        ("flickr8k", {"Flickr8k.token.txt": lines(*TOKENS[:20])}, r"^2 of the 6 photos that the split lists have no caption, such as 30_e"),
        ("flickr8k", {"Flickr_8k.devImages.txt": lines("10_a.jpg")}, r"lists 1 photos more than once, such as 10_a\.jpg"),
        ("flickr8k", {"Flickr8k.token.txt": b"\xff\xfe"}, r"is not UTF-8 \(at byte 0\): download it again"),
        ("flickr8k", {"Flicker8k_Dataset.zip": b"PK\3\4half a zip file"}, r"no whole zip file \(19 bytes; .*cut short; get it again"),
        ("flickr8k", {p: None for p in all_flickr8k() if p.endswith(".jpg")}, r"^6 of 6 photos are absent.*get them again$"),
        ("coco", {}, r"neither dataset_coco\.json .*captions_train2017\.json .*it is empty"),
        ("coco", {"captions_train2014.json": b"{}"}, r"no captions_val2014\.json, .*annotations_trainval2014\.zip"),
        ("coco", {"dataset_coco.json": b'{"images": [{'}, r"dataset_coco\.json is no whole JSON file .*get it again"),
        ("coco", {"dataset_coco.json": b'{"images": [{"split": "train"}]}'}, r"not of Karpathy's form \(KeyError: 'sentences'\)"),
        ("coco", {"dataset_coco.json": b'{"images": []}'}, r"the files of coco hold no rows: get them again"),
        ("clotho", {"clotho_captions_validation.csv": None}, r"no clotho_captions_validation\.csv, .*Clotho 2\.1: polymodal data get clotho"),
        ("clotho", {"clotho_captions_validation.csv": b"a,b\n1,2\n"}, r"no rows with file_name and caption_1"),
        (
            "clotho",
            {"clotho_audio_development.7z": b"7z"},
            r"^9 of 9 recordings are absent.*it holds clotho_audio_development\.7z, .*: extract clotho_audio_development\.7z there first$",
        ),
        ("multi30k", {"val.cs": None, "val.de": None, "val.en": None}, r"has no val\.en, val\.de \.\.\., it holds"),
        ("multi30k", {"train.de": lines("x")}, r"files of train have unequal numbers of lines \(train\.en 3, train\.cs 3, train\.de 1\)"),
        (
            "multi30k",
            {"train.de": None, "train.de.gz": gzip.compress(lines("a", "b", "c"))[:-9]},
            r"train\.de\.gz is damaged or cut short .*download it again",
        ),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(name: str, change: dict[str, bytes | None], said: str, tmp_path: Path) -> None:
    whole = {"flickr8k": all_flickr8k, "clotho": clotho_files, "multi30k": multi30k_files}.get(name, dict)()
    (tmp_path / "in").mkdir()
    files = {k: v for k, v in {**whole, **change}.items() if v is not None}
    with pytest.raises(InputError, match=said):
        read(name, put(tmp_path / "in", files), tmp_path / "out")
    assert not list((tmp_path).glob("out/*.csv"))


def test_a_damaged_member_of_an_archive_is_said(tmp_path: Path) -> None:
    photos, texts = flickr8k_parts()
    archive = bytearray(packed(photos))
    archive[archive.index(jpeg(0)) + 40] ^= 255
    put(tmp_path / "in", {"p.zip": bytes(archive), "t.zip": packed(texts)})
    with pytest.raises(InputError, match=r"10_a\.jpg in .*p\.zip is damaged \(.*\): download the archive again"):
        read("flickr8k", tmp_path / "in", tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.jpg")) and not list((tmp_path / "out").rglob("*.part"))


def test_nobody_elses_table_is_overwritten(flickr8k: Path, tmp_path: Path) -> None:
    put(tmp_path / "out", {"train.csv": b"image,caption_0\nmine,mine\n"})
    with pytest.raises(
        InputError, match=r"train\.csv is there, and no table that this command wrote; choose another --out"
    ):
        read("flickr8k", flickr8k, tmp_path / "out")
    assert b"mine" in (tmp_path / "out/train.csv").read_bytes()
    put(tmp_path / "file", {"a": b""})
    with pytest.raises(InputError, match="give a folder"):
        read("flickr8k", flickr8k, tmp_path / "file/a")


def test_tables_of_an_earlier_reading_go(flickr8k: Path, tmp_path: Path) -> None:
    read("flickr8k", flickr8k, tmp_path / "out")
    put(tmp_path / "out", {"test_mine.csv": b"mine\n"})
    files = {f"annotations/captions_{p}2017.json": coco_annotations(1) for p in ("train", "val")}
    files |= {f"train2017/{1 + i:012}.jpg": jpeg() for i in range(3)}
    read("coco", put(tmp_path / "coco", files), tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "train.csv",
        "val.csv",
        "test_mine.csv",
        "public_set.json",
    }


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (
            ("flickr8", "in"),
            r"the catalogue has no set 'flickr8'; did you mean 'flickr8k'\? It has: flickr8k, flickr30k, coco",
        ),
        (("flickr8k", "nowhere"), "no such folder: .*nowhere; give the folder that holds what the publisher ships"),
    ],
)
def test_wrong_names_are_told(args: tuple[str, str], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        read(args[0], tmp_path / args[1], tmp_path / "out")


def test_a_split_that_there_is_not_is_refused(flickr8k: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="flickr8k can't be split 'random'; its publisher's split is used"):
        read("flickr8k", flickr8k, tmp_path / "out", split="random")


# --- downloading --------------------------------------------------------------------------------------


class Server:
    """Files at an address. cut: bytes after which an answer ends; ranges: whether parts may be asked for; sized:
    whether an answer tells its length."""

    def __init__(self) -> None:
        self.files: Files = {}
        self.cut, self.ranges, self.sized, self.status = 0, True, True, 0
        self.asked: list[tuple[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def answer(self, h: BaseHTTPRequestHandler) -> None:
        asked = h.headers.get("Range", "")
        self.asked.append((h.path, asked))
        body = self.files.get(h.path[1:])
        if body is None or self.status:
            h.send_error(self.status or 404)
            return
        start = int(asked[6:-1]) if asked and self.ranges else 0
        if start and start >= len(body):
            h.send_response(416)
            h.send_header("Content-Range", f"bytes */{len(body)}")
            h.send_header("Content-Length", "0")
            h.end_headers()
            return
        h.send_response(206 if start else 200)
        if self.sized:
            h.send_header("Content-Length", str(len(body) - start))
        if start:
            h.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        h.end_headers()
        h.wfile.write(body[start : start + self.cut] if self.cut else body[start:])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(fetch, "TIMEOUT", 5)
    s = Server()
    yield s
    s.server.shutdown()
    s.server.server_close()


def offer(monkeypatch: pytest.MonkeyPatch, server: Server, files: Files, md5: Mapping[str, str] | None = None) -> None:
    server.files = files
    remotes = tuple(Remote(f"{server.url}/{n}", n, 0.0, (md5 or {}).get(n, "")) for n in files)
    monkeypatch.setitem(SETS, "multi30k", SETS["multi30k"]._replace(files=remotes, page="http://a.page"))


BODY = bytes(range(256)) * 40


def test_get_then_read(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = {Path(k).name: v for k, v in multi30k_files(pack=True).items()}
    offer(monkeypatch, server, files, {"train.en.gz": hashlib.md5(files["train.en.gz"]).hexdigest()})
    got = get("multi30k", tmp_path / "down")
    assert {g.path.name for g in got} == set(files) and all(
        g.new and g.path.read_bytes() == files[g.path.name] for g in got
    )
    how = {g.path.name: g.how for g in got}
    told = "the size that the server told"
    assert how["train.en.gz"] == "MD5 of the publisher"
    assert how["train.de.gz"] == f"{told} and the archive's own sums; no checksum is published"
    assert how["train.txt"] == f"{told}; no checksum is published"
    assert read("multi30k", tmp_path / "down", tmp_path / "out").rows["train"] == 3
    server.asked.clear()
    again = get("multi30k", tmp_path / "down")
    assert not any(g.new for g in again) and not server.asked
    how = {g.path.name: g.how for g in again}  # of files that were there nobody told a size
    assert how["train.en.gz"] == "MD5 of the publisher"
    assert how["train.de.gz"] == "the archive's own sums; no checksum is published"
    assert how["train.txt"] == "its not being empty; no checksum is published"


def test_a_size_that_no_server_told_was_not_compared(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server, {"a.bin": BODY, "a.gz": gzip.compress(BODY)})
    server.sized = False
    bare, packed = get("multi30k", tmp_path)
    assert bare.path.read_bytes() == BODY and bare.how == "its not being empty; no checksum is published"
    assert packed.how == "the archive's own sums; no checksum is published"


def test_a_download_goes_on_where_it_was_cut(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    offer(monkeypatch, server, {"a.bin": BODY}, {"a.bin": hashlib.md5(BODY).hexdigest()})
    server.cut = 3000
    (got,) = get("multi30k", tmp_path)
    assert got.path.read_bytes() == BODY
    assert [r for _, r in server.asked] == ["", "bytes=3000-", "bytes=6000-", "bytes=9000-"]
    assert not list(tmp_path.glob("*.part"))


def test_a_later_run_goes_on_too(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    offer(monkeypatch, server, {"a.bin": BODY}, {"a.bin": hashlib.md5(BODY).hexdigest()})
    (tmp_path / "a.bin.part").write_bytes(BODY[:5000])
    server.status = 503
    with pytest.raises(
        InputError,
        match=r"could not be downloaded \(503 .*\); 5,000 bytes are kept in .*a\.bin\.part: the same command",
    ):
        get("multi30k", tmp_path)
    assert len(server.asked) == fetch.TRIES
    server.status = 0
    server.asked.clear()
    (got,) = get("multi30k", tmp_path)
    assert got.path.read_bytes() == BODY and [r for _, r in server.asked] == ["bytes=5000-"]


def test_a_whole_part_is_not_fetched_again(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    offer(monkeypatch, server, {"a.bin": BODY}, {"a.bin": hashlib.md5(BODY).hexdigest()})
    (tmp_path / "a.bin.part").write_bytes(BODY)
    assert get("multi30k", tmp_path)[0].path.read_bytes() == BODY and len(server.asked) == 1


def test_a_part_of_another_version_is_begun_anew(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server, {"a.bin": BODY}, {"a.bin": hashlib.md5(BODY).hexdigest()})
    (tmp_path / "a.bin.part").write_bytes(BODY + b"more")
    assert get("multi30k", tmp_path)[0].path.read_bytes() == BODY


def test_a_server_without_ranges_sends_all_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server, {"a.bin": BODY}, {"a.bin": hashlib.md5(BODY).hexdigest()})
    server.ranges = False
    (tmp_path / "a.bin.part").write_bytes(b"other" * 1000)
    assert get("multi30k", tmp_path)[0].path.read_bytes() == BODY


def test_a_download_with_a_wrong_checksum_is_told_and_removed(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server, {"a.bin": BODY}, {"a.bin": "0" * 32})
    found = hashlib.md5(BODY).hexdigest()
    with pytest.raises(
        InputError,
        match=rf"a\.bin from http.* has the MD5 {found}, the publisher gives 0{{32}}; the download was removed\. Run",
    ):
        get("multi30k", tmp_path)
    assert not list(tmp_path.iterdir())


WRONG = [
    ("a.bin", b"mine", "0" * 32, f"has the MD5 {hashlib.md5(b'mine').hexdigest()}, the publisher gives 0{{32}}"),
    ("a.zip", b"<html>Sorry</html>", "", "is no whole zip file"),
    ("a.gz", gzip.compress(BODY, mtime=0)[:-20], "", "is no whole gzip file"),
    ("a.txt", b"", "", "is empty"),
]


@pytest.mark.parametrize(("name", "body", "md5", "said"), WRONG)
def test_a_file_that_was_there_is_never_removed(
    name: str, body: bytes, md5: str, said: str, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server, {name: BODY}, {name: md5})
    (tmp_path / name).write_bytes(body)
    with pytest.raises(
        InputError,
        match=rf"{name} was there already and {said}.*; it was left as it is\. Move it away, or give another",
    ):
        get("multi30k", tmp_path)
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == {name: body} and not server.asked


def test_a_folder_in_the_place_of_a_file(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    offer(monkeypatch, server, {"a.bin": BODY})
    (tmp_path / "a.bin").mkdir()
    with pytest.raises(InputError, match=r"a\.bin was there already and is no file; it was left as it is"):
        get("multi30k", tmp_path)


@pytest.mark.parametrize(("name", "body", "md5", "said"), WRONG[1:])
def test_a_file_without_a_checksum_is_tested_all_the_same(
    name: str, body: bytes, md5: str, said: str, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server, {name: body}, {name: md5})
    with pytest.raises(InputError, match=said):
        get("multi30k", tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_address_that_is_gone(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    offer(monkeypatch, server, {"a.zip": b""})
    server.files = {}
    with pytest.raises(
        InputError, match=r"/a\.zip answers 404 \(Not Found\): .* Look at http://a\.page, put a\.zip into"
    ):
        get("multi30k", tmp_path)
    assert len(server.asked) == 1


def test_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: Server) -> None:
    offer(monkeypatch, server, {"a.zip": b""})
    server.server.shutdown()
    server.server.server_close()
    with pytest.raises(InputError, match=r"could not be downloaded \(.*refused.*\); 0 bytes are kept"):
        get("multi30k", tmp_path)


def test_a_disk_without_room(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    offer(monkeypatch, server, {"a.bin": BODY})
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(InputError, match=r"has 0\.0 GB free, a\.bin needs"):
        get("multi30k", tmp_path)


@pytest.mark.parametrize("name", ["flickr8k", "flickr30k"])
def test_a_set_behind_a_form_is_refused_with_the_way(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=rf"{name} can't be downloaded by a program: the University of Illinois asks for a form.*See https:",
    ):
        get(name, tmp_path)


def test_every_set_has_a_reader_a_licence_and_a_way() -> None:
    from polymodal.data.public.forms import FORMS

    assert set(FORMS) == set(SETS)
    for s in SETS.values():
        assert isinstance(s, Public) and (s.files or s.how)
        assert s.licence and s.citation and s.page.startswith("https://") and s.needs
        names = [f.name for f in s.files]
        assert len(names) == len(set(names)) and all(Path(n).name == n for n in names)
        for f in s.files:
            assert f.url.startswith(("https://", "http://")) and f.name in f.url
            assert f.md5 == "" or (len(f.md5) == 32 and set(f.md5) <= set("0123456789abcdef"))
            assert f.url.startswith("https://") or f.md5  # what anybody on the way could replace has a checksum


# --- the command line ---------------------------------------------------------------------------------


def cli(*args: object) -> str:
    done = CliRunner().invoke(app, ["data", *map(str, args)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_commands(flickr8k: Path, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    out = cli("read", "flickr8k", flickr8k, "--out", tmp_path / "out")
    assert (
        "train.csv  3 rows, 15 texts: image, caption_0, caption_1" in out
        and "5 captions are of files in no split" in out
    )
    assert f"polymodal inspect {tmp_path / 'out/train.csv'}" in out
    form = json.loads(cli("read", "flickr8k", flickr8k, "--out", tmp_path / "out", "--json"))
    assert form["rows"] == {"train": 3, "val": 1, "test": 2} and form["tables"]["val"] == str(tmp_path / "out/val.csv")
    listed = cli("list")
    assert (
        all(f"{name}: " in listed for name in SETS)
        and "polymodal data get coco (20 GB)" in listed
        and "cite:" in listed
    )
    assert json.loads(cli("list", "--json"))["coco"]["files"][0]["md5"] == catalogue.SETS["coco"].files[0].md5
    offer(monkeypatch, server, {"a.bin": BODY})
    out = cli("get", "multi30k", "--out", tmp_path / "down")
    assert (
        "a.bin  10,240 bytes; checked by the size that the server told; no checksum is published" in out
        and "polymodal data read multi30k" in out
    )
    form = json.loads(cli("get", "multi30k", "--out", tmp_path / "down", "--json"))
    how = "its not being empty; no checksum is published"
    assert form["files"] == [{"path": str(tmp_path / "down/a.bin"), "size": 10240, "how": how, "new": False}]


def test_the_command_is_there_in_a_process_of_its_own(process: Run) -> None:
    done = process("data", "list", "--json")
    assert done.returncode == 0 and json.loads(done.stdout).keys() == SETS.keys()
