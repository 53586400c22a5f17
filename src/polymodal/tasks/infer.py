"""Which task a target column asks for, and why."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from polymodal.errors import InputError
from polymodal.levels import order_of
from polymodal.tasks.base import Task
from polymodal.tasks.classify import Binary, MultiClass
from polymodal.tasks.generate import Generation, references
from polymodal.tasks.labels import count, is_json_list, key, label_text, list_text, missing, number, plain, several
from polymodal.tasks.multilabel import MultiLabel
from polymodal.tasks.ordinal import Ordinal
from polymodal.tasks.regress import Regression
from polymodal.tasks.vocabulary import NO_SPACES

FEW = 20  # whole numbers with no more distinct values than this are classes
CODES = 50  # so many, without a gap from 0 or 1 and alike in frequency, are the codes of classes
MANY = 100  # and with more than this they are a quantity
SHARE = 0.05  # between the two they are classes if each value comes back in a table of such a size
SENTENCE = 4  # words on average from which on texts are sentences; names, titles and addresses without digits are not
WITH_DIGITS = 0.25  # and with a digit in such a share of them they are addresses, codes, quantities with units
SAMPLE = 1_000  # texts whose words are counted
REPEATS = 1.5  # text whose values come back less often than this is no set of classes


def guess(cells: Sequence[Any], columns: Sequence[str] = ()) -> tuple[Task, str]:
    """The task for these target cells, not yet fitted, and the reason in words; any of them may be missing.

    columns: the names of the target columns; where there are several, each cell is a mapping of them to
    values. Raises InputError where there is no label, the target is constant, or is text that no two rows
    share and that is no sentence.
    """
    present = [c for c in cells if not missing(c)]
    if (order := order_of(present)) and len(set(present)) > 2:
        return Ordinal(order), f"an ordered category, {list_text(order)}"
    if present and (why := _text_kind(present)):
        return Generation(), why
    if len(columns) > 1 or (present and all(isinstance(c, Mapping) for c in present)):
        return _several_columns(present, list(columns) or list(present[0]))
    if not present:
        raise InputError(
            f"none of the {len(cells):,} rows has a label in {_name(columns)}, so there is nothing to learn; "
            "name another target column"
        )
    if sets := _sets(present, columns):
        return sets
    labels, counts = count(plain(c) for c in present)
    rows, distinct = len(present), len(labels)
    if distinct == 1:
        raise InputError(
            f"{_name(columns)} is constant: {label_text(labels[0])} in all {rows:,} labelled rows; there is "
            "nothing to learn from it, so name another target column"
        )
    if distinct == 2:
        return Binary(), f"2 different labels, {list_text(labels)}, in {rows:,} rows"
    numbers = [number(x) for x in labels]
    if all(x is not None and not isinstance(raw, bool) for x, raw in zip(numbers, labels, strict=True)):
        return _numeric(np.array(numbers, dtype=np.float64), counts)
    if rows > FEW and rows / distinct < REPEATS:
        raise InputError(_free(columns, "classes", labels, rows))
    return (
        MultiClass(),
        f"{distinct:,} different labels in {rows:,} rows, the commonest {_commonest(labels, counts)}",
    )


def _numeric(values: np.ndarray, counts: Sequence[int]) -> tuple[Task, str]:
    distinct, rows = len(values), sum(counts)
    if (fractions := int((values != np.round(values)).sum())) > 0:
        return Regression(), f"numbers, {fractions:,} of the {distinct:,} different ones with a fraction"
    # 0 to K - 1, or 1 to K, without a gap, all about as frequent: codes of classes, however few rows there are
    codes = (
        distinct <= CODES
        and values[0] in (0, 1)
        and values[-1] - values[0] == distinct - 1
        and min(counts) >= max(3, rows / distinct / 3)
    )
    unlike = distinct > FEW and distinct > SHARE * rows and not codes
    if unlike or distinct > MANY or distinct > rows / REPEATS:
        return Regression(), f"{distinct:,} different whole numbers in {rows:,} rows: a quantity"
    return MultiClass(), (
        f"only {distinct} different whole numbers in {rows:,} rows: classes (if their order matters, use the "
        "task ordinal; if they are a quantity, regression)"
    )


def _sets(cells: Sequence[Any], columns: Sequence[str]) -> tuple[Task, str] | None:
    """Multi-label where the cells are lists, or texts that join a few labels in many ways."""
    lists = sum(isinstance(c, list | tuple | set | np.ndarray) or _parses(c) for c in cells)
    if lists > len(cells) / 2:
        texts = _texts(cells)
        if _unlike(texts) and _length(texts) >= SENTENCE - 1:  # of several words each, and yet no sentences
            raise InputError(_free(columns, "labels", list(dict.fromkeys(texts)), len(cells)))
        return MultiLabel(), f"{lists:,} of {len(cells):,} cells are lists of labels"
    texts = [c for c in cells if isinstance(c, str)]
    for separator in "|;":
        flat = sum(separator in c for c in texts)
        parts = {key(x) for c in texts for x in several(c, separator)} if flat else set()
        if flat >= 0.1 * len(cells) and len(parts) < len(set(texts)):
            return MultiLabel(), (
                f"{flat:,} of {len(cells):,} cells join labels with {separator!r}, {len(parts):,} different ones in all"
            )
    return None


def _text_kind(cells: Sequence[Any]) -> str | None:
    """Why the cells are sentences, if they are: several words each, few that come twice, few with a digit."""
    texts = _texts(cells)
    if not _unlike(texts) or (length := _length(texts)) < SENTENCE:
        return None
    if sum(any(map(str.isdecimal, t)) for t in texts[:SAMPLE]) >= WITH_DIGITS * len(texts[:SAMPLE]):
        return None
    distinct, rows = len(set(texts)), len(cells)
    return f"{length:.1f} words a text, {distinct:,} different texts of {rows:,} rows: sentences, to be written"


def _texts(cells: Sequence[Any]) -> list[str]:
    return [t for c in cells for t in references(c)]


def _unlike(texts: Sequence[str]) -> bool:
    """Whether these are many texts, few of which come twice, and none a number."""
    distinct = len(set(texts))
    return distinct > FEW and len(texts) / distinct < REPEATS and all(number(t) is None for t in texts[:SAMPLE])


def _length(texts: Sequence[str]) -> float:
    """Words on average of the first texts, and of each part where one joins labels with "|" or ";".

    A word is what stands between spaces and has a letter or digit; of scripts without spaces, two letters.
    """
    parts = [p for t in texts[:SAMPLE] for p in re.split("[|;]", t) if p.strip()]
    return sum(map(_words, parts)) / max(1, len(parts))


def _words(text: str) -> float:
    scripts = sum(map(str.isalpha, re.findall(f"[{NO_SPACES}]", text)))
    words = sum(any(map(str.isalnum, chunk)) for chunk in re.sub(f"[{NO_SPACES}]", " ", text).split())
    return words + scripts / 2


def _free(columns: Sequence[str], kind: str, labels: Sequence[Any], rows: int) -> str:
    """Text that is neither classes nor sentences, as an error."""
    return (
        f"{_name(columns)} looks like free text or an id, and not like {kind}: {len(labels):,} different values in "
        f"{rows:,} rows, for example {list_text(labels, 2)}; name another target column, or write such texts with "
        "--task=generate"
    )


def _parses(cell: Any) -> bool:
    """Text that is a JSON list, and not a label in brackets."""
    try:
        return is_json_list(cell) and isinstance(json.loads(cell), list)
    except ValueError:
        return False


def _several_columns(cells: Sequence[Mapping[str, Any]], columns: list[str]) -> tuple[Task, str]:
    for name in columns:
        values = [cell.get(name) for cell in cells]
        if all(missing(v) for v in values):
            raise InputError(f"no row has a label in the target {name!r}, so leave it out or name another")
        for value in values:
            if not missing(value) and number(value) is None:
                raise InputError(
                    f"several target columns are learned together only where all are numbers, but {name!r} "
                    f"holds {label_text(value)}; name one target column, or numeric ones, or write texts with "
                    "--task=generate"
                )
    return Regression(columns), f"{len(columns)} numeric target columns: {', '.join(columns)}"


def _name(columns: Sequence[str]) -> str:
    return f"the target {columns[0]!r}" if columns else "the target"


def _commonest(labels: Sequence[Any], counts: Sequence[int]) -> str:
    n, label = max(zip(counts, labels, strict=True), key=lambda pair: pair[0])
    return f"{label_text(label, 30)} ({n:,} rows)"
