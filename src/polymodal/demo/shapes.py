"""Pictures of one or two coloured shapes, each with every sentence of a small grammar that is true of it.

    Kind, Kind, "above" --arranged--> Scene --drawn--> pictures/train-0001.png                   } a row of
                                            --said---> ["a red circle above a blue square" ...]   } train.csv

A caption names all shapes of its picture and how they stand: as a whole it is right or wrong. The references of a
picture are all the captions of the grammar that are right, so to match one of them exactly is to be right. Some
triples of a colour, a shape and a relation never come together in training, and in `new_combinations.csv` they do.
"""

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

SIDE = 64  # pixels of a picture's edge
FINER = 4  # a picture is drawn so many times larger, then made smaller: smooth edges
MARGIN = 2.0  # pixels between two shapes, and between a shape and the edge, at least
RADIUS = 12.0, 14.0  # pixels: the bounds of the circle around a shape; one that is alone may be larger
LARGEST = 16.0
DRIFT = 6.0  # pixels, at most, that each of two shapes beside each other is above or below the middle
TURN = 4.0  # degrees by which a shape may be turned, either way
GRAIN = 0.03  # standard deviation of the noise, at most, where white is 1
ALONE = 0.35  # share of pictures of one shape; the others have two
RELATIONS = ("left of", "above")
CONVERSE = {"left of": "right of", "above": "below"}
CONVERSE |= {b: a for a, b in CONVERSE.items()}
COLOURS = {
    "red": (205, 30, 40),
    "green": (40, 150, 60),
    "blue": (40, 80, 215),
    "yellow": (245, 210, 35),
}


class ShapeTables(NamedTuple):
    """Where the tables are. unseen: new pictures of what training has. new_combinations: a held-out triple in each."""

    train: Path
    unseen: Path
    new_combinations: Path


class Kind(NamedTuple):
    """What a shape is called by."""

    colour: str
    shape: str

    def __str__(self) -> str:
        return f"a {self.colour} {self.shape}"


class Thing(NamedTuple):
    """A shape in a picture: its centre in pixels (y grows downward), the radius of its circle, its turn in degrees."""

    kind: Kind
    x: float
    y: float
    radius: float
    turn: float


class Scene(NamedTuple):
    """The things of a picture, and how the first stands to the second: one of RELATIONS, or "" where it is alone."""

    things: tuple[Thing, ...]
    relation: str


def make_table(folder: Path, *, rows: int = 3000, unseen: int = 300, seed: int = 0) -> ShapeTables:
    """Write train.csv, unseen.csv and new_combinations.csv, with pictures/*.png beside them, into `folder`.

    Columns: picture (a path relative to the folder) and captions (a JSON list). Both later tables have `unseen` rows;
    in new_combinations.csv all triples of `held_out` come up equally often, each with one of the other shapes at
    random. A seed gives one set of files.
    """
    rng = np.random.default_rng(seed)
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    triples = sorted(held_out())

    def strange(i: int) -> Scene:
        return combination(triples[i % len(triples)], rng)

    tables = ShapeTables(*(folder / f"{part}.csv" for part in ShapeTables._fields))
    for path, n, new in zip(tables, (rows, unseen, unseen), (False, False, True), strict=True):
        order = rng.permutation(n)
        _write(path, [strange(int(i)) if new else familiar(rng) for i in order], rng)
    return tables


def _write(path: Path, scenes: list[Scene], rng: np.random.Generator) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["picture", "captions"])
        for i, scene in enumerate(scenes):
            picture = f"pictures/{path.stem}-{i:04}.png"
            draw(scene, rng).save(path.parent / picture)
            table.writerow([picture, json.dumps(sentences(scene))])


def held_out() -> set[tuple[str, str, str]]:
    """(colour, shape, relation) triples that training lacks: 7 of the 48.

    Colour number i, shape number j and relation number k, where i + j + k is a multiple of 6: so any two of the three
    do come together in training.
    """
    return {
        (colour, shape, relation)
        for i, colour in enumerate(COLOURS)
        for j, shape in enumerate(OUTLINES)
        for k, relation in enumerate(CONVERSE)
        if (i + j + k) % 6 == 0
    }


def triples(scene: Scene) -> set[tuple[str, str, str]]:
    """Every (colour, shape, relation) of the picture, read both ways."""
    if len(scene.things) == 1:
        return set()
    a, b = scene.things
    return {(*a.kind, scene.relation), (*b.kind, CONVERSE[scene.relation])}


def sentences(scene: Scene) -> list[str]:
    """All captions of the grammar that are true of the scene; the first begins with what is left or above."""
    if len(scene.things) == 1:
        a = scene.things[0].kind
        return [f"only {a}", f"{a} alone"]
    a, b = (thing.kind for thing in scene.things)
    return [f"{a} {scene.relation} {b}", f"{b} {CONVERSE[scene.relation]} {a}"]


def familiar(rng: np.random.Generator) -> Scene:
    """A scene of one or two things, without a held-out triple."""
    count = 1 if rng.random() < ALONE else 2
    while True:
        relation = str(rng.choice(RELATIONS)) if count > 1 else ""
        scene = arrange([kind(rng) for _ in range(count)], relation, rng)
        if _plain(scene) and not triples(scene) & held_out():
            return scene


def combination(triple: tuple[str, str, str], rng: np.random.Generator) -> Scene:
    """A scene of two things, the first of which is of that colour and shape and stands so to the second."""
    colour, shape, relation = triple
    while True:
        pair = [Kind(colour, shape), kind(rng)]
        scene = arrange(pair, relation, rng) if relation in RELATIONS else arrange(pair[::-1], CONVERSE[relation], rng)
        if _plain(scene):
            return scene


def kind(rng: np.random.Generator) -> Kind:
    """Any colour, any shape."""
    return Kind(str(rng.choice(list(COLOURS))), str(rng.choice(list(OUTLINES))))


def _plain(scene: Scene) -> bool:
    """No two things are called alike."""
    return len({thing.kind for thing in scene.things}) == len(scene.things)


def arrange(kinds: list[Kind], relation: str, rng: np.random.Generator) -> Scene:
    """Things of these kinds, of which the first stands so to the second, anywhere in the picture."""
    if len(kinds) == 1:
        places = _alone(rng)
    else:
        places = _beside(rng) if relation == "left of" else _beside(rng)[:, [1, 0, 2]]
    turns = rng.uniform(-TURN, TURN, len(kinds))
    things = [
        Thing(k, float(x), float(y), float(radius), float(t))
        for k, (x, y, radius), t in zip(kinds, places, turns, strict=True)
    ]
    return Scene(tuple(things), relation)


def _alone(rng: np.random.Generator) -> NDArray[np.float64]:
    """(1, 3): x, y, radius of one thing."""
    radius = rng.uniform(RADIUS[0], LARGEST)
    return np.array([[*_spot(radius, rng), radius]])


def _beside(rng: np.random.Generator) -> NDArray[np.float64]:
    """(2, 3): two things, the left one first, each near half the height of the picture."""
    radius = rng.uniform(*RADIUS, 2)
    gaps = MARGIN + (SIDE - 2 * radius.sum() - 3 * MARGIN) * rng.dirichlet(np.ones(3))[:2]
    x = np.cumsum(gaps + 2 * radius) - radius
    return np.stack([x, SIDE / 2 + rng.uniform(-DRIFT, DRIFT, 2), radius], 1)


def _spot(radius: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """(2,): where a thing of that radius may stand."""
    return rng.uniform(radius + MARGIN, SIDE - radius - MARGIN, 2)


def outline(thing: Thing) -> NDArray[np.float64]:
    """(N, 2) corners in pixels."""
    t = np.deg2rad(thing.turn)
    corners = OUTLINES[thing.kind.shape] @ np.array([[np.cos(t), np.sin(t)], [-np.sin(t), np.cos(t)]])
    return np.asarray(thing.radius * corners + (thing.x, thing.y))


def draw(scene: Scene, rng: np.random.Generator) -> "Image.Image":
    """The picture: paper of a pale tone that changes across it, the things on it, grain."""
    from PIL import Image, ImageDraw

    large = Image.fromarray(_paper(rng)).resize((SIDE * FINER,) * 2)
    pen = ImageDraw.Draw(large)
    for thing in scene.things:
        shade = np.clip(np.add(COLOURS[thing.kind.colour], rng.normal(0, 8, 3)), 0, 255)
        pen.polygon([(x, y) for x, y in outline(thing) * FINER], fill=tuple(int(v) for v in shade))
    x_hwc = np.asarray(large.reduce(FINER), dtype=np.float32)
    x_hwc = x_hwc + 255 * rng.uniform(0, GRAIN) * rng.standard_normal(x_hwc.shape, dtype=np.float32)
    return Image.fromarray(np.clip(x_hwc, 0, 255).astype(np.uint8))


def _paper(rng: np.random.Generator) -> NDArray[np.uint8]:
    """(SIDE, SIDE, 3): a pale tone, a little tinted, that shifts from one side to another."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    shift = rng.uniform(0, 6) * (np.cos(angle) * x + np.sin(angle) * y)
    paper = np.clip(rng.uniform(222, 248) + rng.normal(0, 4, 3) + shift[..., None], 0, 255)
    return np.asarray(paper, dtype=np.uint8)


def _polygon(corners: int, first: float = 0.0) -> NDArray[np.float64]:
    """Corners on the unit circle, the first so many degrees to the right of the top."""
    angle = np.deg2rad(first) + 2 * np.pi * np.arange(corners) / corners
    return np.stack([np.sin(angle), -np.cos(angle)], 1)


OUTLINES = {  # corners within the unit circle, y downward
    "circle": _polygon(48),
    "square": _polygon(4, 45),
    "triangle": _polygon(3),
}
