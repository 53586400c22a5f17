"""What in one modality made an answer, as blocks of a page: a picture, a text, a strip, the strongest parts."""

import numpy as np

from polymodal.explain.parts import Attribution
from polymodal.modalities.places import Columns, Grid, Seconds, Steps, Words
from polymodal.modalities.previews import photo, recording
from polymodal.view.blocks import Bar, Bars, Block, Heat, Marked, Picture, Strip, Table
from polymodal.view.cell import thumbnail
from polymodal.view.plot import Line, curves
from polymodal.view.text import SMALL, figure, short, signed

SIDE = 320  # pixels of a picture under its scores
FAINT = 0.1  # of the strongest place: what is not worth a picture of its own
TEXT = 6000  # characters of a text that are shown
NAME = 40  # characters of a part's name


def named(a: Attribution) -> list[str]:
    """What each part of a modality is called."""
    where = a.where
    if isinstance(where, Words):
        return where.parts
    if isinstance(where, Columns):
        cells = zip(where.names, where.cells, strict=True)
        return [f"{short(n, NAME)}: {short(x, NAME)}" if x else short(n, NAME) for n, x in cells]
    return [w or f"part {i + 1}" for i, w in enumerate(where.words(np.eye(len(a.scores))))]


def seen(a: Attribution, characters: int = TEXT) -> list[Block]:
    """The modality's cell with its scores; nothing where it has no look of its own, as columns."""
    where = a.where
    if isinstance(where, Words):
        return [_marked(a, where, characters)]
    if isinstance(where, Grid):
        return [*_heats(a, where)]
    if isinstance(where, Seconds):
        heard = recording(where.cell).first(where.duration)
        edges = [min(x, where.duration) / where.duration for x in where.edges]
        marks = [f"{where.duration * i / 4:.1f} s" for i in range(5)]
        return [Strip(where.name or a.modality, heard, edges, a.scores, _top(a), marks)]
    if isinstance(where, Steps):
        edges = [x / max(1, where.length) for x in where.edges]
        marks = ["reading 1", f"reading {where.length}"]
        names = [f"{a.modality}, {c}" for c in where.channels or ("all channels",)]
        each = zip(names, where.grid(a.scores[None])[0], strict=True)
        return [Strip(name, None, edges, scores, _top(a), marks) for name, scores in each]
    return []


def strongest(a: Attribution, most: int, caption: str) -> list[Block]:
    """Bars of the parts that count most; none of a picture's patches, whose names say little."""
    if isinstance(a.where, Grid):
        return []
    names, order = named(a), np.argsort(-np.abs(a.scores), kind="stable")[:most]
    rows = [Bar(names[i], float(a.scores[i]), signed(float(a.scores[i]))) for i in order]
    which = f"the {most} of {len(a.scores)} parts that count most" if len(a.scores) > most else "each part"
    return [Bars(f"{caption}: {which}", rows)]


def tested(a: Attribution, unit: str) -> list[Block]:
    """How the answer moves as parts are hidden or shown, those that speak most for it first."""
    f = a.faithful
    every = {
        "deletion": f.deletion,
        "deletion, random order": f.random_deletion,
        "insertion": f.insertion,
        "insertion, random order": f.random_insertion,
    }
    share = [f"{x:.0%}" for x in f.share]
    title = (
        f"{unit}, by the share of the parts of {short(a.modality, NAME)} that is hidden (deletion) or shown (insertion)"
    )
    caption = (
        f"{title[0].upper()}{title[1:]}, those that speak most for it first. Deletion should fall soon, and insertion "
        "rise soon, sooner than in a random order."
    )
    lines = [Line(name, [100 * x for x in f.share], y.tolist()) for name, y in every.items()]
    rows = [[name, *(figure(float(x)) for x in y)] for name, y in every.items()]
    return [
        Picture(caption, curves(title, lines, "share of the parts, %", unit)),
        Table(title, ["share", *share], rows),
    ]


def faith(a: Attribution) -> str:
    """How far an explanation can be trusted, in a sentence."""
    f = a.faithful
    better = "better than" if f.gain > 0.02 else "worse than" if f.gain < -0.02 else "no better than"
    out = f"Faithfulness: gain {f.gain:+.2f}, {better} a random order (0)."
    if f.randomised is None:
        return f"{out} There is no check with random weights for this model or row."
    near = "which is low, as it should be" if abs(f.randomised) < 0.5 else "which is high: trust it less"
    return f"{out} Its rank correlation with the explanation of random weights is {f.randomised:+.2f}, {near}."


def _top(a: Attribution) -> float:
    return float(np.abs(a.scores).max(initial=0))


def _marked(a: Attribution, where: Words, characters: int) -> Marked:
    """The text in pieces: each part with how strong it is, and what stands between."""
    top, at = _top(a) or 1.0, 0
    out: list[tuple[str, float]] = []
    for (i, j), x in zip(where.spans, a.scores.tolist(), strict=True):
        if j > characters:
            break
        weak = abs(x) <= max(SMALL, 0.02 * top)
        out += [(where.text[at:i], 0.0), (where.text[i:j], 0.0 if weak else x / top)]
        at = j
    out.append((where.text[at : max(at, characters)], 0.0))
    more = len(where.text) - max(at, characters)
    tail = [(f" … and {more:,} more characters", 0.0)] if more > 0 else []
    return Marked(short(a.modality, NAME), [p for p in out if p[0]] + tail)


def _heats(a: Attribution, where: Grid) -> list[Heat]:
    """The picture; then what speaks for the answer, and against it, bright in the dark, where there is any such."""
    image = thumbnail(photo(where.cell).image, SIDE)
    size, s_1 = (image.height, image.width), a.scores[None]
    sides = [(what, (sign * s_1).clip(min=0)) for what, sign in (("for", 1), ("against", -1))]
    maps = [where.over(s, *size)[0] for _, s in sides]
    top = max(float(m.max()) for m in maps) or 1.0
    name = short(a.modality, NAME)
    out = [Heat(where.name or name, f"the picture in {name}", image, np.ones(size))]
    for (what, s), light in zip(sides, maps, strict=True):
        if light.max() >= FAINT * top:
            place = where.words(s)[0]
            said = f"what speaks {what} {short(a.output, NAME)} is bright ({place})"
            out.append(Heat(said[0].upper() + said[1:], f"{name}: {said}", image, (light / top).clip(0, 1)))
    return out
