"""Pictures of one or two coloured shapes, each with every sentence of a small grammar that is true of it.

    Kind, Kind, "above" --arranged--> Scene --drawn--> pictures/train-0001.png                   } a row of
                                            --said---> ["a red star is above a blue circle" ...]  } train.csv

A caption names all shapes of its picture and how they stand: as a whole it is right or wrong. The references of a
picture are all the captions of the grammar that are right, so to match one of them exactly is to be right. Of each
colour and shape there is one relation in which it never stands in training, and in `new_combinations.csv` it does.
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
LEAN = 0.45  # of two shapes beside each other: how far apart they are in height, at most, to how far in breadth
TURN = 12.0  # degrees by which a shape may be turned, either way
GRAIN = 0.04  # standard deviation of the noise, at most, where white is 1
ALONE = 0.3  # share of pictures of one shape; the others have two
RELATIONS = ("left of", "above", "inside")
CONVERSE = {"left of": "right of", "above": "below", "inside": "around"}
CONVERSE |= {b: a for a, b in CONVERSE.items()}
PHRASES = {  # two ways to say each
    "left of": ("is left of", "is to the left of"),
    "right of": ("is right of", "is to the right of"),
    "above": ("is above", "is over"),
    "below": ("is below", "is under"),
    "inside": ("is inside", "is within"),
    "around": ("is around", "surrounds"),
}
COLOURS = {
    "red": (205, 30, 40),
    "green": (40, 150, 60),
    "blue": (40, 80, 215),
    "yellow": (245, 210, 35),
    "purple": (135, 50, 165),
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


def make_table(folder: Path, *, rows: int = 4800, unseen: int = 300, seed: int = 0) -> ShapeTables:
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
    """(colour, shape, relation) triples that training lacks: of each colour and shape, one relation of the six.

    Colour number i, shape number j and relation number k, where i + j + k is a multiple of 6: so any two of the three
    do come together in training.
    """
    sixth = len(PHRASES)
    return {
        (colour, shape, relation)
        for i, colour in enumerate(COLOURS)
        for j, shape in enumerate(OUTLINES)
        for k, relation in enumerate(PHRASES)
        if (i + j + k) % sixth == 0
    }


def triples(scene: Scene) -> set[tuple[str, str, str]]:
    """Every (colour, shape, relation) of the picture, read both ways."""
    if len(scene.things) == 1:
        return set()
    a, b = scene.things
    return {(*a.kind, scene.relation), (*b.kind, CONVERSE[scene.relation])}


def sentences(scene: Scene) -> list[str]:
    """All captions of the grammar that are true of the scene; the first begins with what is left, above or inside."""
    if len(scene.things) == 1:
        a = scene.things[0].kind
        return [f"only {a}", f"{a} alone", f"nothing but {a}"]
    a, b = (thing.kind for thing in scene.things)
    there, back = PHRASES[scene.relation], PHRASES[CONVERSE[scene.relation]]
    return [f"{a} {phrase} {b}" for phrase in there] + [f"{b} {phrase} {a}" for phrase in back]


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
    """No two things are called alike, and nothing lies inside what has its colour."""
    kinds = [thing.kind for thing in scene.things]
    return len(set(kinds)) == len(kinds) and (scene.relation != "inside" or kinds[0].colour != kinds[1].colour)


def arrange(kinds: list[Kind], relation: str, rng: np.random.Generator) -> Scene:
    """Things of these kinds, of which the first stands so to the second, anywhere in the picture."""
    if len(kinds) == 1:
        places = _alone(rng)
    elif relation == "inside":
        places = _inside(kinds[1], rng)
    else:
        places = _beside(rng) if relation == "left of" else _beside(rng)[:, [1, 0, 2]]
    turns = rng.uniform(-TURN, TURN, len(kinds))
    things = [
        Thing(k, float(x), float(y), float(radius), float(t))
        for k, (x, y, radius), t in zip(kinds, places, turns, strict=True)
    ]
    return Scene(tuple(things), relation)


def _alone(rng: np.random.Generator) -> NDArray[np.float64]:
    """(1, 3): x, y and radius of one thing."""
    radius = rng.uniform(13, 26)
    return np.array([[*_spot(radius, rng), radius]])


def _inside(outer: Kind, rng: np.random.Generator) -> NDArray[np.float64]:
    """(2, 3): a thing within the largest circle about the centre of another, which fills at most half its breadth."""
    radius = rng.uniform(21, 28)
    centre = _spot(radius, rng)
    room = radius * _room(OUTLINES[outer.shape]) - 1
    inner = rng.uniform(0.85, 0.98) * min(room, radius / 2)
    angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(0, room - inner)
    return np.array([[*(centre + away * np.array([np.cos(angle), np.sin(angle)])), inner], [*centre, radius]])


def _beside(rng: np.random.Generator) -> NDArray[np.float64]:
    """(2, 3): two things, the left one first, the right one a little higher or lower."""
    radius = rng.uniform(10.5, 14, 2)
    gaps = MARGIN + (SIDE - 2 * radius.sum() - 3 * MARGIN) * rng.dirichlet(np.ones(3))[:2]
    x = np.cumsum(gaps + 2 * radius) - radius
    first = _spot(radius[0], rng)[1]
    second = first + rng.uniform(-LEAN, LEAN) * (x[1] - x[0])
    second = np.clip(second, radius[1] + MARGIN, SIDE - radius[1] - MARGIN)
    return np.stack([x, [first, second], radius], 1)


def _spot(radius: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """(2,): where a thing of that radius may stand."""
    return rng.uniform(radius + MARGIN, SIDE - radius - MARGIN, 2)


def outline(thing: Thing) -> NDArray[np.float64]:
    """(N, 2) corners in pixels."""
    t = np.deg2rad(thing.turn)
    turned = OUTLINES[thing.kind.shape] @ np.array([[np.cos(t), np.sin(t)], [-np.sin(t), np.cos(t)]])
    return np.asarray(thing.radius * turned + (thing.x, thing.y))


def draw(scene: Scene, rng: np.random.Generator) -> "Image.Image":
    """The picture: paper of a pale or dark tone that changes across it, the things on it, the large first, grain."""
    from PIL import Image, ImageDraw

    large = Image.fromarray(_paper(rng)).resize((SIDE * FINER,) * 2)
    pen = ImageDraw.Draw(large)
    for thing in sorted(scene.things, key=lambda t: -t.radius):
        shade = np.clip(np.add(COLOURS[thing.kind.colour], rng.normal(0, 8, 3)), 0, 255)
        pen.polygon([(x, y) for x, y in outline(thing) * FINER], fill=tuple(int(v) for v in shade))
    x_hwc = np.asarray(large.reduce(FINER), dtype=np.float32)
    x_hwc = x_hwc + 255 * rng.uniform(0, GRAIN) * rng.standard_normal(x_hwc.shape, dtype=np.float32)
    return Image.fromarray(np.clip(x_hwc, 0, 255).astype(np.uint8))


def _paper(rng: np.random.Generator) -> NDArray[np.uint8]:
    """(SIDE, SIDE, 3): a pale or dark tone, a little tinted, that shifts from one side to another."""
    tone = rng.uniform(215, 245) if rng.random() < 0.7 else rng.uniform(15, 45)
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    shift = rng.uniform(0, 10) * (np.cos(angle) * x + np.sin(angle) * y)
    paper = np.clip(tone + rng.normal(0, 5, 3) + shift[..., None], 0, 255)
    return np.asarray(paper, dtype=np.uint8)


def _polygon(corners: int, first: float = 0.0) -> NDArray[np.float64]:
    """Corners on the unit circle, the first so many degrees to the right of the top."""
    angle = np.deg2rad(first) + 2 * np.pi * np.arange(corners) / corners
    return np.stack([np.sin(angle), -np.cos(angle)], 1)


def _room(corners: NDArray[np.float64]) -> float:
    """The distance from the origin to the nearest edge."""
    a, b = corners, np.roll(corners, -1, axis=0)
    along = np.clip((-a * (b - a)).sum(1) / ((b - a) ** 2).sum(1), 0, 1)
    return float(np.linalg.norm(a + along[:, None] * (b - a), axis=1).min())


OUTLINES = {  # corners within the unit circle, y downward
    "circle": _polygon(48),
    "square": _polygon(4, 45),
    "triangle": _polygon(3),
    "star": _polygon(10) * np.where(np.arange(10) % 2, 0.5, 1.0)[:, None],
}
