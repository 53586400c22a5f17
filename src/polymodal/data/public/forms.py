"""What each publisher writes: files -> rows.

Flickr8k.token.txt: 1000268201_693b08cb0e.jpg#0<tab>A child in a pink dress ...
Flickr_8k.trainImages.txt: one file name a line
"""

import csv
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from polymodal.data.public.sources import Entry, Source
from polymodal.errors import InputError


class Row(NamedTuple):
    """media: name of the file ("" for none); folder: part of the name of the folder that it is in; texts: by column."""

    media: str
    folder: str
    texts: dict[str, str]


class Form(NamedTuple):
    """What was found. column: "image" or "audio". tables: rows by the table's name: train, val, test. unused: captions
    of things that are in no table."""

    column: str
    tables: dict[str, list[Row]]
    unused: int = 0
    notes: tuple[str, ...] = ()


FLICKR8K = {
    "train": "Flickr_8k.trainImages.txt",
    "val": "Flickr_8k.devImages.txt",
    "test": "Flickr_8k.testImages.txt",
}
CLOTHO = {"train": "development", "val": "validation", "test": "evaluation"}
KARPATHY = {"train": "train", "restval": "train", "val": "val", "test": "test"}
TEXT = re.compile(r"(train|val|test(?:_\d{4})?(?:_[a-z]+)?)\.([a-z]{2})(?:\.gz)?")
HELD_OUT = 31  # a drawn split keeps one in so many for each of validation and test, as Karpathy's of Flickr30k does


def flickr8k(source: Source, split: str) -> Form:
    """Captions and split of the publisher's own text files, or Karpathy's JSON (the same split)."""
    if source.find("Flickr8k.token.txt") is None and (file := source.find("dataset_flickr8k.json")):
        return karpathy(file)
    captions = tokens(source.need("Flickr8k.token.txt"))
    absent = [name for name in FLICKR8K.values() if source.find(name) is None]
    if absent:
        raise InputError(
            f"{source.place} has no {', '.join(absent)}, {source.holds()}; they come with Flickr8k_text.zip"
        )
    lists = {part: [x.strip() for x in source.need(f).lines() if x.strip()] for part, f in FLICKR8K.items()}
    return by_split(captions, lists)


def flickr30k(source: Source, split: str) -> Form:
    """Captions of the token file or of Karpathy's JSON, whose split it is; or a drawn split, if asked for."""
    json_file = source.find("dataset_flickr30k.json")
    if json_file is not None and split != "random":
        return karpathy(json_file)
    captions = tokens(source.need("results_20130124.token", "results.token"))
    if split != "random":
        raise InputError(
            f"{source.place} has captions but no split: the publisher makes none. Put dataset_flickr30k.json there (in "
            "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip), which most work uses, or ask "
            "for one that is drawn by the photos' names: --split random"
        )
    order = sorted(captions, key=lambda name: blake2b(name.encode(), digest_size=8).digest())
    rows = max(1, len(order) // HELD_OUT)
    lists = {"train": order[2 * rows :], "val": order[:rows], "test": order[rows : 2 * rows]}
    note = f"a drawn split: {rows:,} photos each for val and test; results can't be compared with published ones"
    return by_split(captions, lists)._replace(notes=(note,))


def coco(source: Source, split: str) -> Form:
    """Karpathy's JSON, whose `restval` is for training; without it the publisher's annotations, which have no test."""
    if file := source.find("dataset_coco.json"):
        return karpathy(file)
    for year in ("2017", "2014"):
        files = {part: source.find(f"captions_{part}{year}.json") for part in ("train", "val")}
        if not any(files.values()):
            continue
        absent = [f"captions_{part}{year}.json" for part, file in files.items() if file is None]
        if absent:
            raise InputError(
                f"{source.place} has no {absent[0]}, {source.holds()}; it comes with annotations_trainval{year}.zip"
            )
        tables = {part: annotations(file, f"{part}{year}") for part, file in files.items() if file is not None}
        return Form("image", tables, notes=("the captions of the publisher's own test photos are not public",))
    raise InputError(
        f"{source.place} has neither dataset_coco.json (Karpathy's split, in caption_datasets.zip) nor "
        f"captions_train2017.json (in annotations_trainval2017.zip), {source.holds()}"
    )


def clotho(source: Source, split: str) -> Form:
    """Its three CSV files: development is for training, validation and evaluation for val and test."""
    names = {part: f"clotho_captions_{there}.csv" for part, there in CLOTHO.items()}
    absent = [name for name in names.values() if source.find(name) is None]
    if absent:
        raise InputError(
            f"{source.place} has no {', '.join(absent)}, {source.holds()}; they are files of Clotho 2.1: "
            "polymodal data get clotho"
        )
    tables = {}
    for part, name in names.items():
        file = source.need(name)
        cells = list(csv.DictReader(io.StringIO(file.text(), newline="")))
        columns = [c for c in (cells[0] if cells else {}) if c and c.startswith("caption_")]
        if not cells or "file_name" not in cells[0] or not columns:
            raise InputError(f"{file.name()} has no rows with file_name and caption_1 ...: download it again")
        tables[part] = [Row(x["file_name"], CLOTHO[part], by_number(x[c] or "" for c in columns)) for x in cells]
    return Form("audio", tables)


def multi30k(source: Source, split: str) -> Form:
    """Parallel text files, a language each; a picture a line where there are lists of them and the photos are there."""
    files: defaultdict[str, dict[str, Entry]] = defaultdict(dict)
    for e in source.entries:
        if names := TEXT.fullmatch(e.base):
            files[names[1]].setdefault(names[2], e)
    if absent := [part for part in ("train", "val") if part not in files]:
        raise InputError(
            f"{source.place} has no {' and no '.join(f'{p}.en, {p}.de ...' for p in absent)}, {source.holds()}"
        )
    first = "test_2016_flickr" if "test_2016_flickr" in files else "test"
    order = ["train", "val", first, *sorted(files.keys() - {"train", "val", first})]
    photos = any(e.path.lower().endswith((".jpg", ".jpeg", ".png")) for e in source.entries)
    tables, lists = {}, {}
    for part in (p for p in order if p in files):
        texts = {x: e.lines() for x, e in sorted(files[part].items(), key=lambda pair: (pair[0] != "en", pair[0]))}
        if lines := source.find(f"{part}.txt", f"{part}_images.txt", f"{part.removesuffix('_flickr')}_images.txt"):
            lists[part] = lines
            if photos:
                texts[""] = [line.split("#")[0].strip() for line in lines.lines()]
        if len(set(map(len, texts.values()))) > 1:
            counts = ", ".join(f"{part}.{x or 'txt'} {len(t):,}" for x, t in texts.items())
            raise InputError(f"the files of {part} have unequal numbers of lines ({counts}): download them again")
        rows = [dict(zip(texts, line, strict=True)) for line in zip(*texts.values(), strict=True)]
        name = "test" if part == first else part
        tables[name] = [Row(r.pop("", ""), "", {x: flat(t) for x, t in r.items()}) for r in rows]
    note = "without photos: a table of texts (put the photos of Flickr30k beside them for an image column)"
    return Form("image", tables, notes=() if photos and lists else (note,))


# --- forms that several share -------------------------------------------------------------------------


def tokens(file: Entry) -> dict[str, list[str]]:
    """Lines "name.jpg#0<tab>caption" -> captions by name, in the order of their numbers."""
    out: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    for i, line in enumerate(file.lines(), 1):
        if not line.strip():
            continue
        words = re.fullmatch(r"(.+)#(\d+)\t(.*)", line)
        if words is None:
            raise InputError(
                f"{file.name()}, line {i}: {line[:60]!r} is not of the form name.jpg#0<tab>caption; the file may be "
                "cut short: get it again"
            )
        out[words[1]].append((int(words[2]), words[3]))
    return {name: [text for _, text in sorted(pairs, key=lambda p: p[0])] for name, pairs in out.items()}


def by_split(captions: Mapping[str, Sequence[str]], lists: Mapping[str, Sequence[str]]) -> Form:
    """Rows of each list of names; every name must have captions, and be in one list alone."""
    every = Counter(name for names in lists.values() for name in names)
    if without := [name for name in every if name not in captions]:
        raise InputError(
            f"{len(without):,} of the {len(every):,} photos that the split lists have no caption, such as "
            f"{without[0]}: the file of captions is cut short; get it again"
        )
    if twice := [name for name, n in every.items() if n > 1]:
        raise InputError(
            f"the split lists {len(twice):,} photos more than once, such as {twice[0]}: get its files again"
        )
    tables = {part: [Row(name, "", by_number(captions[name])) for name in names] for part, names in lists.items()}
    return Form("image", tables, sum(len(c) for name, c in captions.items() if name not in every))


def karpathy(file: Entry) -> Form:
    """Karpathy & Fei-Fei 2015: {"images": [{"filename", "split", "filepath", "sentences": [{"raw"}]}]}."""
    tables: dict[str, list[Row]] = {"train": [], "val": [], "test": []}
    try:
        for image in json_of(file)["images"]:
            texts = by_number(x["raw"] for x in image["sentences"])
            tables[KARPATHY[image["split"]]].append(Row(image["filename"], image.get("filepath", ""), texts))
    except (KeyError, TypeError) as e:
        raise InputError(f"{file.name()} is not of Karpathy's form ({type(e).__name__}: {e}): get it again") from e
    return Form("image", {part: rows for part, rows in tables.items() if rows})


def annotations(file: Entry, folder: str) -> list[Row]:
    """COCO's own form: {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}."""
    captions: defaultdict[int, list[str]] = defaultdict(list)
    try:
        form = json_of(file)
        for x in sorted(form["annotations"], key=lambda x: x["id"]):
            captions[x["image_id"]].append(x["caption"])
        return [
            Row(x["file_name"], folder, by_number(captions[x["id"]])) for x in form["images"] if x["id"] in captions
        ]
    except (KeyError, TypeError) as e:
        raise InputError(f"{file.name()} is not of COCO's form ({type(e).__name__}: {e}): get it again") from e


def json_of(file: Entry) -> Any:
    """A JSON file; raises InputError where it is cut short."""
    try:
        return json.loads(file.text())
    except json.JSONDecodeError as e:
        raise InputError(f"{file.name()} is no whole JSON file ({e}): get it again") from e


def by_number(texts: Iterable[str]) -> dict[str, str]:
    """Columns caption_0, caption_1 ... of the texts that hold something."""
    return {f"caption_{i}": text for i, text in enumerate(filter(None, map(flat, texts)))}


def flat(text: str) -> str:
    """The text with one space for each run of white space: some captions end in a line break."""
    return " ".join(text.split())


FORMS: dict[str, Callable[[Source, str], Form]] = {
    "flickr8k": flickr8k,
    "flickr30k": flickr30k,
    "coco": coco,
    "clotho": clotho,
    "multi30k": multi30k,
}
