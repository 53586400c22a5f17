"""The demo's pictures of shapes: every sentence is true, by an eye of the test's own; what is held out is not there."""

import csv
import json
import re
from collections import Counter
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from polymodal.demo import shapes
from polymodal.demo.shapes import COLOURS, OUTLINES, Kind, Scene, Thing

FINER = 4  # points a pixel that the test looks at
OPPOSITE = {"right of": "left of", "below": "above"}  # what the grammar's words mean, written down once more
NAME = r"a (\w+) (\w+)"


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def facts(sentence: str) -> tuple[set[Kind], set[tuple[Kind, str, Kind]]]:
    """Who is named, and what is said of them as left or above. Raises where it is no sentence of the grammar."""
    if m := re.fullmatch(rf"only {NAME}|{NAME} alone", sentence):
        return {Kind(*(g for g in m.groups() if g))}, set()
    if m := re.fullmatch(rf"{NAME} (left of|right of|above|below) {NAME}", sentence):
        colour, shape, relation, colour2, shape2 = m.groups()
        a, b = Kind(colour, shape), Kind(colour2, shape2)
        return {a, b}, {(b, OPPOSITE[relation], a) if relation in OPPOSITE else (a, relation, b)}
    raise AssertionError(f"no sentence of the grammar: {sentence}")


def ink(thing: Thing) -> np.ndarray:
    """(256, 256) bool: where the thing is, at 4 points a pixel, drawn alone."""
    sheet = Image.new("1", (FINER * shapes.SIDE,) * 2)
    ImageDraw.Draw(sheet).polygon([(FINER * x, FINER * y) for x, y in shapes.outline(thing)], fill=1)
    return np.asarray(sheet)


def holds(a: np.ndarray, relation: str, b: np.ndarray) -> bool:
    """Seen in the ink: all of a is left of (above) all of b, and further so than it is higher."""
    if relation == "above":
        a, b = a.T, b.T
    (ya, xa), (yb, xb) = np.nonzero(a), np.nonzero(b)
    boxes = [(y.min() + y.max()) / 2 for y in (ya, yb)]
    ahead = (xb.min() + xb.max() - xa.min() - xa.max()) / 2
    return bool(xa.max() < xb.min() and abs(boxes[0] - boxes[1]) < ahead)


def scenes(count: int, seed: int = 0) -> list[Scene]:
    rng = np.random.default_rng(seed)
    held = sorted(shapes.held_out())
    return [shapes.familiar(rng) for _ in range(count)] + [shapes.combination(t, rng) for t in held]


@pytest.fixture(scope="module")
def drawn() -> list[Scene]:
    return scenes(100)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> shapes.ShapeTables:
    return shapes.make_table(tmp_path_factory.mktemp("shapes"), rows=150, unseen=30)


def test_every_sentence_of_a_picture_is_true_of_it_and_names_all_that_is_there(drawn: list[Scene]) -> None:
    for scene in drawn:
        there = {t.kind: ink(t) for t in scene.things}
        for sentence in shapes.sentences(scene):
            named, said = facts(sentence)
            assert named == set(there), sentence
            assert len(said) == len(there) - 1
            assert all(holds(there[a], r, there[b]) for a, r, b in said), sentence


def test_no_other_relation_is_true_so_the_sentences_are_all_true_ones(drawn: list[Scene]) -> None:
    for scene in drawn:
        there = {t.kind: ink(t) for t in scene.things}
        said = set.union(*(facts(s)[1] for s in shapes.sentences(scene)))
        pairs = permutations(there, 2)
        true = {(a, r, b) for a, b in pairs for r in shapes.RELATIONS if holds(there[a], r, there[b])}
        assert true == said, "a second relation is true, or one that is said is not"


def test_a_picture_has_several_sentences_that_say_the_same(drawn: list[Scene]) -> None:
    for scene in drawn:
        said = shapes.sentences(scene)
        assert len(set(said)) == len(said) >= 2
        assert len({frozenset(facts(s)[1]) for s in said}) == 1, "two sentences of one picture say different things"


def test_no_shape_hides_another_or_leaves_the_picture(drawn: list[Scene]) -> None:
    for scene in drawn:
        corners = np.concatenate([shapes.outline(thing) for thing in scene.things])
        assert corners.min() >= 1 and corners.max() <= shapes.SIDE - 1
        assert np.sum([ink(thing) for thing in scene.things], axis=0).max() == 1, scene
        assert all(ink(thing).sum() >= 150 * FINER**2 for thing in scene.things), "fewer than 150 pixels"


def test_what_is_drawn_has_its_colour_where_it_is(drawn: list[Scene]) -> None:
    names, tones = list(COLOURS), np.array([*COLOURS.values()], dtype=float)
    rng = np.random.default_rng(5)
    for scene in drawn:
        picture = np.asarray(shapes.draw(scene, rng), dtype=float)
        assert picture.shape == (shapes.SIDE, shapes.SIDE, 3)
        for thing in scene.things:
            whole = ink(thing).reshape(shapes.SIDE, FINER, shapes.SIDE, FINER).all((1, 3))
            mean = picture[whole].mean(0)
            assert names[np.square(tones - mean).sum(1).argmin()] == thing.kind.colour


def test_a_held_out_triple_never_occurs_in_training(tables: shapes.ShapeTables) -> None:
    def triples(row: dict[str, str]) -> set[tuple[str, str, str]]:
        found = set()
        for a, r, b in set.union(*(facts(s)[1] for s in json.loads(row["captions"]))):
            back = {v: k for k, v in OPPOSITE.items()}[r]
            found |= {(*a, r), (*b, back)}
        return found

    held = shapes.held_out()
    train, unseen, new = (read(t) for t in tables)
    assert not held & set.union(*map(triples, train + unseen))
    assert all(held & triples(row) for row in new)
    assert held <= set.union(*map(triples, new)), "a held-out triple is never asked for"


def test_all_that_is_held_out_is_met_in_parts() -> None:
    rng = np.random.default_rng(0)
    held = shapes.held_out()
    assert max(Counter(t[:2] for t in held).values()) == 1
    assert {t[0] for t in held} == set(COLOURS)
    assert {t[1] for t in held} == set(OUTLINES)
    assert {t[2] for t in held} == set(shapes.CONVERSE)
    trained = set.union(*(shapes.triples(shapes.familiar(rng)) for _ in range(800)))
    every = {(c, s, r) for c in COLOURS for s in OUTLINES for r in shapes.CONVERSE}
    assert trained == every - held
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert {(t[i], t[j]) for t in held} <= {(t[i], t[j]) for t in trained}


def test_every_word_of_the_new_combinations_occurs_in_training(tables: shapes.ShapeTables) -> None:
    words = [{w for row in read(t) for s in json.loads(row["captions"]) for w in s.split()} for t in tables]
    assert words[2] <= words[0] and words[1] <= words[0]


def test_the_files_are_those_that_the_tables_name(tables: shapes.ShapeTables) -> None:
    assert [len(read(t)) for t in tables] == [150, 30, 30]
    named = [row["picture"] for t in tables for row in read(t)]
    folder = tables.train.parent
    assert {p.relative_to(folder).as_posix() for p in folder.glob("*/*")} == set(named)
    assert len(set(named)) == len(named), "a picture is in two rows"
    contents = {(folder / n).read_bytes() for n in named}
    assert len(contents) == len(named)
    with Image.open(folder / named[0]) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (shapes.SIDE, shapes.SIDE))


def test_one_seed_gives_one_set_of_files_and_another_seed_another(tmp_path: Path) -> None:
    def contents(name: str, seed: int) -> dict[str, bytes]:
        shapes.make_table(tmp_path / name, rows=20, unseen=10, seed=seed)
        return {p.relative_to(tmp_path / name).as_posix(): p.read_bytes() for p in (tmp_path / name).glob("**/*.*")}

    first, same, other = contents("a", 0), contents("b", 0), contents("c", 1)
    assert first == same
    assert not {k for k, v in first.items() if other.get(k) == v}
