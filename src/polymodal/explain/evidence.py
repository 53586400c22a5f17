"""What in one modality made an answer, as blocks of a page: a picture, a text, a strip, the strongest parts."""

import numpy as np

from polymodal.explain.parts import Attribution
from polymodal.view.blocks import Bar, Bars, Block, Picture, Table
from polymodal.view.plot import Line, curves
from polymodal.view.text import figure, short, with_sign

MOST = 40  # parts in a list
TEXT = 6000  # characters of a text that are shown
NAME = 40  # characters of a part's name


def title_of(a: Attribution) -> list[str]:
    """What each part of a modality is called."""
    return a.where.names(len(a.scores))


def attribution_blocks(a: Attribution, characters: int = TEXT) -> list[Block]:
    """The modality's cell with its scores; nothing where it has no look of its own, as columns."""
    return a.where.scored(a.scores, a.modality, a.output, characters)


def strongest(a: Attribution, caption: str, most: int = MOST) -> list[Block]:
    """Bars of the parts that count most, at most so many; none of a picture's patches, whose names say little."""
    most = min(most, a.where.bars)
    if not most:
        return []
    names, order = title_of(a), np.argsort(-np.abs(a.scores), kind="stable")[:most]
    rows = [Bar(names[i], float(a.scores[i]), with_sign(float(a.scores[i]))) for i in order]
    which = f"the {most} of {len(a.scores)} parts that count most" if len(a.scores) > most else "each part"
    return [Bars(f"{caption}: {which}", rows)]


def faithfulness_text(a: Attribution, unit: str) -> list[Block]:
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
