"""What in the modalities of a row speaks for its answer: a lit picture, marked words, bars of seconds or columns."""

from itertools import pairwise

import numpy as np

from polymodal.errors import InputError, Unreadable
from polymodal.explain.contributions import Contributions
from polymodal.explain.draw import lit, scaled, thumbnail
from polymodal.explain.page import encoded, uri
from polymodal.explain.parts import Attribution, attribute_rows
from polymodal.explain.places import Columns, Grid, Seconds, Steps
from polymodal.explain.places import Words as Written
from polymodal.report.blocks import Block, Heat, Marked, signed, small
from polymodal.report.looks import short
from polymodal.report.study import Study

MODALITIES = 2  # of a row whose parts are shown
SHOWN, WORDS, SIDE = 6, 80, 200  # bars, words, pixels
BLANK = "integrated-gradients"


def parts(study: Study, row: int, one: Contributions) -> list[Block]:
    """The parts of the modalities that count most in the row."""
    order = np.argsort(-np.abs(one.shapley[0]), kind="stable")
    names = [one.modalities[i] for i in order if one.present[0, i]]
    out: list[Block] = []
    for m in names[:MODALITIES]:
        try:
            found = attribute_rows(study.model, study.table, study.rows, row, m, seed=study.seed)
        except (InputError, Unreadable) as e:
            out.append(small(f"Parts of {short(m, 40)} are not shown: {short(e, 200)}"))
            continue
        out += _shown(found)
    return out


def _shown(a: Attribution) -> list[Block]:
    unit = "log odds" if a.method == BLANK else "change of the answer"
    same = "" if a.faithful.randomised is None else f", likeness to random weights {a.faithful.randomised:.2f}"
    how = f"{a.method.replace('-', ' ')}; faithfulness gain {a.faithful.gain:+.2f}{same}"
    caption = f"{short(a.modality, 40)}, by {how}"
    if len(a.scores) < 2:
        return []
    if isinstance(a.where, Grid):
        return [_lit(a, a.where, caption)]
    if isinstance(a.where, Written):
        return [_marked(a, a.where, caption)]
    names = _names(a)
    top = np.argsort(-np.abs(a.scores), kind="stable")[:SHOWN]
    more = f", the {SHOWN} of {len(a.scores)} parts that count most" if len(a.scores) > SHOWN else ""
    return [signed([(names[i], float(a.scores[i])) for i in top], f"{caption}{more} ({unit})")]


def _names(a: Attribution) -> list[str]:
    where = a.where
    if isinstance(where, Columns):
        return [
            f"{short(n, 40)}: {short(c, 40)}" if c else short(n, 40)
            for n, c in zip(where.names, where.cells, strict=True)
        ]
    if isinstance(where, Seconds):
        ends = [min(e, where.duration) for e in where.edges]
        return [f"{s:.2f} to {e:.2f} s" for s, e in pairwise(ends)]
    if isinstance(where, Steps):
        return where.words(np.eye(len(a.scores)))
    return [f"token {i + 1}" for i in range(len(a.scores))]


def _lit(a: Attribution, where: Grid, caption: str) -> Block:
    image = np.asarray(thumbnail(where.cell, SIDE))
    light = scaled(where.over(np.maximum(a.scores, 0)[None], *image.shape[:2]))[0]
    place = where.words(np.maximum(a.scores, 0)[None])[0] if a.scores.max() > 0 else "nowhere"
    from PIL import Image

    alt = f"the picture in {short(a.modality, 40)}: what speaks for the answer keeps its light; most of it {place}"
    return Heat(f"{caption}: what speaks for the answer keeps its light, most of it {place}",
                uri("image/jpeg", encoded(Image.fromarray(lit(image, light)), "JPEG", quality=78)), alt)  # fmt: skip


def _marked(a: Attribution, where: Written, caption: str) -> Block:
    top = float(np.abs(a.scores).max()) or 1.0
    said = [(short(w, 40), float(s) / top) for w, s in zip(where.parts, a.scores, strict=True)]
    more = f", the first {WORDS} of {len(said)} parts" if len(said) > WORDS else ""
    return Marked(f"{caption}{more}", said[:WORDS])
