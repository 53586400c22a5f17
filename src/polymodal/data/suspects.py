"""What in a table would fool a person: doubled rows, ids among the features, groups, leaks of the target."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from polymodal.data.schema import Column, Schema, words
from polymodal.data.splits import folds
from polymodal.data.table import Table
from polymodal.modalities import MODALITIES, of_column
from polymodal.modalities.tabular.columns import CATEGORY, NUMBER, category, fit_category, fit_number, number_or_nan
from polymodal.tasks.base import Task
from polymodal.tasks.labels import missing

ENOUGH = 20  # labelled rows below which nothing is said of leaks
ROWS = 20_000  # rows that are looked at for leaks
QUICK = 2_000  # where training waits for it
LIKELY, SURE = 0.8, 0.99  # scores: of the first fold, without which the others are not looked at, and of a leak
OWNERS = set(
    """
    speaker patient subject user person participant author session video movie film scene site
    household group family writer singer actor customer client device driver student teacher school
    hospital clinic donor well plate batch slide case visit recording episode
    conversation dialogue document article book page url location city station camera sensor machine
    player team worker annotator rater respondent
    """.split()
)
NAMES = {"id", "ids", "uid", "uuid", "guid", "identifier"}
IDS = NAMES | {"key", "index", "idx", "row", "no", "nr", "unnamed"}


class Suspect(NamedTuple):
    """Something to look at before training. kind: "leak", "id", "conflict", "order" or "target"."""

    kind: str
    column: str | None
    message: str


class Group(NamedTuple):
    """A column whose values come back, so that rows that share one may resemble each other."""

    column: str
    groups: int
    largest: int
    reason: str


def duplicates(content: Mapping[str, Sequence[Any]], numbers: Sequence[int]) -> tuple[int, list[tuple[int, int]]]:
    """How many rows repeat an earlier one, and each with the first like it, by row number."""
    first: dict[tuple[Any, ...], int] = {}
    pairs = []
    for i, row in enumerate(zip(*content.values(), strict=True)):
        if row in first:
            pairs.append((numbers[first[row]], numbers[i]))
        else:
            first[row] = i
    return len(pairs), pairs


def conflicts(features: Mapping[str, Sequence[Any]], labels: Sequence[Any]) -> int:
    """Rows that equal another in every feature, and differ from it in the label."""
    by_cells: dict[tuple[Any, ...], Counter[Any]] = defaultdict(Counter)
    for row, label in zip(zip(*features.values(), strict=True), labels, strict=True):
        if label is not None:
            by_cells[row][label] += 1
    return sum(sum(c.values()) for c in by_cells.values() if len(c) > 1)


def groups(table: Table, schema: Schema, content: Mapping[str, Sequence[Any]]) -> list[Group]:
    """Columns to split by: named like an owner of several rows, or one file that stands in several rows.

    With a group chosen already, only those whose values cross it.
    """
    out = []
    for c in schema.columns.values():
        values = content[c.name]
        times = Counter(v for v in values if v is not None)
        count, total = len(times), sum(times.values())
        modality = MODALITIES.get(c.kind)
        recurs = modality is not None and modality.recurs
        if not 2 <= count <= total * (0.95 if recurs else 0.5):
            continue
        largest = max(times.values())
        if recurs:
            reason = (
                f"the same {c.kind} stands in up to {largest} rows; split apart, validation would hold "
                "what was trained on"
            )
        elif owner := _owner(c, len(times)):
            reason = f"rows of one {owner} resemble each other"
        else:
            continue
        if schema.group is None or _crosses(values, table.cells(schema.group)):
            out.append(Group(c.name, count, largest, reason))
    return sorted(out, key=lambda g: schema.columns[g.column].kind != CATEGORY)


def _owner(column: Column, count: int) -> str:
    """What a column of `count` names is of, by its own name; "" where they are no names of what has several rows.

    "speaker", "user_id", "speaker no": in "page_count" and "user score" another thing comes last. A number is a name
    only where it is called an id; two names may as well be the two answers to a question.
    """
    parts = words(column.name)
    nouns = [w for w in parts if w not in IDS]
    ids = IDS if column.kind == "id" else NAMES
    if column.kind not in (CATEGORY, NUMBER, "id") or count <= 2 or (column.kind == NUMBER and not ids & set(parts)):
        return ""
    if nouns[-1:] and nouns[-1] in OWNERS:
        return nouns[-1]
    return column.name if ids & set(parts) else ""


def _crosses(values: Sequence[Any], sample: Sequence[Any]) -> bool:
    homes: dict[Any, Any] = {}
    return any(homes.setdefault(v, g) != g for v, g in zip(values, sample, strict=True) if v is not None)


def ids(table: Table, schema: Schema) -> list[Suspect]:
    """Features that name their row, or nearly: learned by heart, and new in every later row."""
    out = []
    for c in schema.columns.values():
        there = [x for x in table.cells(c.name) if x is not None]
        modality = of_column(c.kind)
        if modality is None or not modality.legible or len(there) < 3:
            continue
        why = names_rows(c.name, table.cells(c.name))
        if not why and c.kind == CATEGORY and len(there) > ENOUGH and "items" not in fit_category(there):
            distinct = len(set(map(str, there)))
            why = f"{distinct} of {len(there)} values are distinct" if distinct > 0.5 * len(there) else ""
        if why:
            out.append(Suspect("id", c.name, f"{c.name!r} is used as a {c.kind}, but {why}; --ignore {c.name}"))
    return out


def leaks(table: Table, schema: Schema, task: Task, target: str, rows: int = ROWS) -> list[Suspect]:
    """Columns from which alone the target can be told in rows that were not seen, of at most `rows`.

    By looking the value up, by the cuts of a tree, or because the label's word stands in the text. task: what the
    target means, fitted; of one without a label or number a row nothing is said.
    """
    if not task.capabilities & {"confusion", "residuals"}:
        return []
    numeric = not task.labels_
    labels = _labels(table, task, target)
    places = [i for i, y in enumerate(labels) if y is not None]
    if len(places) > rows:
        places = sorted(np.random.default_rng(0).permutation(places)[:rows].tolist())
    if len(places) < ENOUGH or len({labels[i] for i in places}) < 2:
        return []
    y = np.array([float(labels[i]) for i in places]) if numeric else _codes([labels[i] for i in places])
    parts = folds(len(places), 5, None if numeric else y.tolist())
    base = 0.0 if numeric else float(np.bincount(y).max() / len(y))
    out = []
    for c in schema.columns.values():
        cells = [table.cells(c.name)[i] for i in places]
        modality = of_column(c.kind)
        way = None if modality is None else modality.tells.get(c.kind)
        if guess := GUESSES.get(way or ""):
            at = parts[0][1]  # most columns are far from it, as one fold shows
            if _score(y[at], guess(cells, y, parts[:1], numeric)[at], numeric) < LIKELY:
                continue
            score = _score(y, guess(cells, y, parts, numeric), numeric)
        elif way == "words" and not numeric:
            score = _information(cells, [labels[i] for i in places])
        else:
            continue
        if score >= SURE and (1 - score) <= 0.1 * (1 - base):
            how = f"R2 {score:.3f}" if numeric else f"{score:.1%} right, where always the commonest gives {base:.1%}"
            what = "its text names the label" if way == "words" else "it alone tells the target"
            out.append(
                Suspect(
                    "leak",
                    c.name,
                    f"{c.name!r} gives {target!r} away: {what} ({how}). If it won't be known when you "
                    f"predict: --ignore {c.name}",
                )
            )
    return out


def _labels(table: Table, task: Task, target: str) -> list[Any]:
    """A label or number a row, None where there is none; task may be one of several targets."""
    read: Callable[[Any], Sequence[Any]] = task.labels_of if task.labels_ else task.numbers_of
    cells = table.cells(target)
    if task.columns is None:
        return [None if missing(c) else read(c)[0] for c in cells]
    place = list(task.columns).index(target)
    return [None if missing(c) else read({target: c})[place] for c in cells]


def _codes(values: Sequence[Any]) -> np.ndarray:
    order = {v: i for i, v in enumerate(dict.fromkeys(values))}
    return np.array([order[v] for v in values])


def _score(y: np.ndarray, guess: np.ndarray, numeric: bool) -> float:
    """Accuracy, or R2 of numbers."""
    if not numeric:
        return float((y == guess).mean())
    return float(1 - ((y - guess) ** 2).sum() / max(((y - y.mean()) ** 2).sum(), 1e-300))


def _looked_up(cells: Sequence[Any], y: np.ndarray, parts: Any, numeric: bool) -> np.ndarray:
    """For each row the commonest label (mean number) of the other folds' rows with the same value."""
    names = _codes([category(c) for c in cells])
    guess = np.zeros(len(y), dtype=np.float64)
    for train, test in parts:
        rest = _middle(y[train], numeric)
        rows_of: dict[int, list[int]] = defaultdict(list)
        for i in train:
            rows_of[names[i]].append(i)
        table = {name: _middle(y[rows], numeric) for name, rows in rows_of.items()}
        guess[test] = [table.get(names[i], rest) for i in test]
    return guess


def _middle(y: np.ndarray, numeric: bool) -> float:
    return float(y.mean()) if numeric else float(np.bincount(y).argmax())


def _bins(cells: Sequence[Any], y: np.ndarray, parts: Any, numeric: bool) -> np.ndarray:
    """For each row the answer of a decision tree on this column alone, learned from the other folds."""
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    state = fit_number(cells)
    x = np.array([[number_or_nan(c, state)] for c in cells], dtype=np.float64)
    x = np.where(np.isnan(x), -1e30, x.clip(-1e29, 1e29))
    guess = np.zeros(len(y), dtype=np.float64)
    for train, test in parts:
        tree = (DecisionTreeRegressor if numeric else DecisionTreeClassifier)(min_samples_leaf=2, random_state=0)
        guess[test] = tree.fit(x[train], y[train]).predict(x[test])
    return guess


GUESSES = {"value": _looked_up, "order": _bins}  # by the way in which a column tells


def _information(cells: Sequence[Any], labels: Sequence[Any]) -> float:
    """The share of rows whose text holds the word of their label and of no other."""
    names = {str(y).casefold(): y for y in dict.fromkeys(labels)}
    if len(names) > 50 or len(names) < 2:
        return 0.0
    # the longest first, so that "not good" is not taken for "good"
    either = re.compile(r"(?<!\w)(" + "|".join(map(re.escape, sorted(names, key=len, reverse=True))) + r")(?!\w)")
    right = 0
    for cell, label in zip(cells, labels, strict=True):
        sentence = {names[w] for w in either.findall(str(cell).casefold())}
        right += sentence == {label}
    return right / len(labels)


def names_rows(name: str, cells: Sequence[Any]) -> str:
    """Why a column looks like the name of its row, "" where it doesn't.

    Strings: nearly all distinct, of one word that holds a digit or the like. Whole numbers: all distinct, and
    either the column is named like an id or they count the rows. Other numbers never: they measure something.
    """
    there = [c for c in cells if c is not None]
    if any(isinstance(c, bool) or not isinstance(c, str | int) for c in there):
        return ""
    texts = [str(c).strip() for c in there]
    distinct = len(set(texts))
    if len(texts) < 3 or distinct < 0.95 * len(texts):
        return ""
    every = f"{distinct} of {len(texts)} values are distinct"
    by_name = bool(IDS & set(words(name)))
    if all(re.fullmatch(r"[+-]?\d{1,18}", t) for t in texts):
        low, high = (f(int(t) for t in texts) for f in (min, max))
        counts = distinct == len(cells) >= ENOUGH and high - low + 1 == distinct
        return f"{every}, whole numbers that count the rows" if counts else every * by_name
    single = sum(len(t) <= 100 and not re.search(r"\s", t) for t in texts)
    by_code = sum(re.search(r"[\d_@/]", t) is not None and not re.fullmatch(r"[-+.\de]+", t) for t in texts)
    return every if single >= 0.95 * len(texts) and (by_name or by_code >= 0.5 * len(texts)) else ""
