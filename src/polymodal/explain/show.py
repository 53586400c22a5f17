"""Reasons for one row, or of a whole table, as one HTML page that needs nothing beside itself and runs no script."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from polymodal.errors import Unreadable
from polymodal.explain.draw import thumbnail
from polymodal.explain.nearest import FUSED, Neighbour, Shown, Space
from polymodal.explain.overall import Overall, Summary, strongest
from polymodal.explain.page import Detail, encoded, heard, rendered, shade, small, sound, uri
from polymodal.explain.parts import Attribution
from polymodal.explain.reasons import Reasons, faith, named
from polymodal.modalities.places import Columns, Grid, Seconds, Steps, Words
from polymodal.view.text import SMALL, figure, plain, signed

if TYPE_CHECKING:
    from markupsafe import Markup

LABELS = 10  # that the page shows
BARS = 8  # parts in a list of the strongest
FAINT = 0.1  # of the strongest place: what is not worth a picture of its own
TEXT = 6000  # characters of a text that are shown
MEANS = {
    "integrated-gradients": "what each part adds to the answer on the way from a row without it, in log odds of a "
    "label or in the unit of the value",
    "occlusion": "what the answer loses where the part alone is hidden",
    "rollout": "the share of the fusion's attention, through all its layers, that the part gets",
}


class Bar(NamedTuple):
    """A line of a list of bars. width: percent of half of the track; None for a note in its place."""

    name: str
    value: str
    width: float | None
    against: bool = False
    note: str = ""


class Picture(NamedTuple):
    """A figure. kind: "" or "strip". over: SVG beneath it. marks: of the axis beneath."""

    image: str
    alt: str
    caption: str
    kind: str = ""
    over: Any = ""
    marks: Sequence[str] = ()
    audio: str = ""


class Thing(NamedTuple):
    """A cell as it is shown: a picture, a recording, a text."""

    image: str = ""
    alt: str = ""
    text: str = ""
    audio: str = ""


def page(e: Reasons, *, command: str = "") -> str:
    """The page of one row; in less detail where it would be larger than 1 MB."""
    return small(lambda detail: rendered("reasons.html", e=e, command=command, **_row(e, detail)))


def overview(e: Overall, *, command: str = "") -> str:
    """The page of a table."""
    top = max((m.size.high for m in e.summary.modalities), default=0) or 1.0

    def wide(x: float) -> float:
        return round(100 * x / top, 2)

    return rendered(
        "overall.html", e=e, s=e.summary, command=command, wide=wide, additive=additive(e.summary), strongest=strongest
    )


def additive(s: Summary) -> str:
    """How much of the answers is additive, in a sentence; "" where that is unknown."""
    if s.crossmodal != s.crossmodal or len(s.modalities) < 2:
        return ""
    return (
        f"Over {s.split:,} rows a sum of functions of one modality each differs from the answer by "
        f"{figure(s.crossmodal)} on average (the cross-modal part), and moves it by {figure(s.additive)} from what it "
        "is with nothing known."
    )


def _row(e: Reasons, detail: Detail) -> dict[str, Any]:
    """What the template of a row is filled with."""
    c = e.contributions
    chances = [(k[12:-1], v) for k, v in e.prediction.items() if k.startswith("probability[")]
    chances.sort(key=lambda x: -x[1])
    pairs = [(f"{a}, {b}", x, error) for a, b, x, error in e.interactions]
    known = [(m, i) for i, m in enumerate(c.modalities) if c.present[0, i]]
    values = [(m, float(c.shapley[0, i]), float(c.error[0, i])) for m, i in known]
    values.sort(key=lambda x: -abs(x[1]))
    split = "" if np.isnan(c.additive[0]) or len(c.modalities) < 2 else (
        f"The best sum of functions of one modality each says {figure(float(c.additive[0]))}; the other "
        f"{signed(float(c.crossmodal[0]))} of the answer is cross-modal."
    )  # fmt: skip
    return {
        "chances": chances[:LABELS],
        "more": max(0, len(chances) - LABELS),
        "answer": figure(float(c.answer[0])),
        "base": figure(float(c.base[0])),
        "modalities": [*bars(values), *(Bar(m, "", None, note="absent") for m in e.absent)],
        "alone": bars([(m, float(c.alone[0, i]), 0.0) for m, i in known]),
        "pairs": bars(pairs[:BARS]),
        "additive": split,
        "parts": [_part(e, a, detail) for a in e.attributions],
        "cells": [(m, _thing(x, m, detail.side // 2, detail.sound)) for m, x in _unexplained(e)],
        "spaces": [] if e.nearest is None else [_space(s) for s in e.nearest.spaces],
    }


def _unexplained(e: Reasons) -> list[tuple[str, Shown]]:
    """The modalities whose cell is not seen above."""
    seen = {a.modality for a in e.attributions}
    return [(m, x) for m, x in e.cells.items() if m not in seen]


def bars(rows: Sequence[tuple[str, float, float]]) -> list[Bar]:
    """Bars of (name, value, standard error), of which the longest fills its half of the track."""
    top = max((abs(v) for _, v, _ in rows if v == v), default=0.0) or 1.0
    out = []
    for name, v, error in rows:
        said = signed(v) + (f" ± {error:.3f}" if error else "")
        out.append(Bar(name, said, round(50 * abs(v) / top, 2) if v == v else 0.0, v < 0))
    return out


# --- what in a modality -------------------------------------------------------------------------------


def _part(e: Reasons, a: Attribution, detail: Detail) -> dict[str, Any]:
    """One modality's part of the page."""
    where, f = a.where, a.faithful
    more = len(where.text) - TEXT if isinstance(where, Words) else 0
    top = [] if isinstance(where, Grid) else _top(a)
    curves = (("deletion", f.deletion, f.random_deletion), ("insertion", f.insertion, f.random_insertion))
    said = {
        "deletion": "Deletion: the answer as parts are hidden, those that speak most for it first; lower is better. "
        "Solid: in this order, dashed: in random orders.",
        "insertion": "Insertion: the answer as parts alone are shown, those that speak most for it first; higher is "
        "better. Solid: in this order, dashed: in random orders.",
    }
    rows = [
        (f"{n}{r}", [figure(float(x)) for x in y])
        for n, own, rand in curves
        for r, y in (("", own), (", random", rand))
    ]
    return {
        "modality": a.modality,
        "method": a.method.replace("-", " "),
        "meaning": MEANS[a.method],
        "output": a.output,
        "words": _words(where, a) if isinstance(where, Words) else [],
        "cut": f" … and {more:,} more characters" if more > 0 else "",
        "figures": _figures(a, detail),
        "top": top,
        "caption": "The strongest parts" if len(a.scores) > len(top) else "Each part",
        "faith": faith(a),
        "curves": [{"svg": curve(f.share, own, rand, n), "caption": said[n]} for n, own, rand in curves],
        "share": [f"{x:.0%}" for x in f.share],
        "rows": rows,
    }  # fmt: skip


def _top(a: Attribution) -> list[Bar]:
    """The strongest parts; of columns all of them, as many as a page bears."""
    most = 40 if isinstance(a.where, Columns) else BARS
    names, order = named(a), np.argsort(-np.abs(a.scores), kind="stable")[:most]
    return bars([(names[i], float(a.scores[i]), 0.0) for i in order])


def _words(where: Words, a: Attribution) -> list[dict[str, Any]]:
    """The text in pieces: each part with how strong it is, and what stands between."""
    top, out, at = float(np.abs(a.scores).max(initial=0)) or 1.0, [], 0
    for (i, j), x in zip(where.spans, a.scores.tolist(), strict=True):
        if j > TEXT:
            break
        side = "" if abs(x) <= max(SMALL, 0.02 * top) else "for" if x > 0 else "against"
        out.append({"text": where.text[at:i], "side": ""})
        out.append({"text": where.text[i:j], "side": side, "much": round(100 * abs(x) / top), "value": signed(x)})
        at = j
    return [*out, {"text": where.text[at : max(at, TEXT)], "side": ""}]


def _figures(a: Attribution, detail: Detail) -> list[Picture]:
    where = a.where
    if isinstance(where, Grid):
        return _heat(where, a, detail)
    if isinstance(where, Seconds):
        image, alt, marks, recording = heard(where, a.modality, detail.sound)
        drawn = strips(a.scores, [min(x, where.duration) / where.duration for x in where.edges], a.modality)
        return [Picture(image, alt, where.name or a.modality, "strip", drawn, marks, recording)]
    if isinstance(where, Steps):
        grids = where.grid(a.scores[None])[0]
        edges = [x / max(1, where.length) for x in where.edges]
        top = float(np.abs(a.scores).max(initial=0))
        marks = ["reading 1", f"reading {where.length}"]
        names = where.channels or ("all channels",)
        return [
            Picture("", "", n, "", strips(g, edges, f"{a.modality}, {n}", top), marks)
            for n, g in zip(names, grids, strict=True)
        ]
    return []


def _heat(where: Grid, a: Attribution, detail: Detail) -> list[Picture]:
    """The picture; then what speaks for the answer, and against it, bright in the dark, where there is any such."""
    image = thumbnail(where.cell, detail.side // 2).convert("RGB")
    size = (image.height, image.width)
    top = max((float(where.over(s * a.scores[None], *size).max()) for s in (1, -1)), default=0.0)
    out = [Picture(_jpeg(image), f"the picture in {a.modality}", where.name or a.modality)]
    for sign, what in ((1, "for"), (-1, "against")):
        light = where.over((sign * a.scores[None]).clip(min=0), *size)[0] / (top or 1.0)
        if light.max() < FAINT:
            continue
        place = where.words((sign * a.scores[None]).clip(min=0))[0]
        lit = Image.alpha_composite(image.convert("RGBA"), shade(light.clip(0, 1)).convert("RGBA")).convert("RGB")
        alt = f"what in {a.modality} speaks {what} {a.output}: mostly {place}"
        out.append(Picture(_jpeg(lit), alt, f"What speaks {what} {a.output} is bright ({place})"))
    return out


def _jpeg(image: Image.Image) -> str:
    return uri("image/jpeg", encoded(image, "JPEG", quality=80))


def strips(scores: np.ndarray, edges: Sequence[float], name: str, top: float | None = None) -> "Markup":
    """SVG of a bar for each part: up, filled, for the answer; down, empty, against it. edges: shares of the width."""
    from markupsafe import Markup, escape

    top = (float(np.abs(scores).max(initial=0)) if top is None else top) or 1.0
    rects = []
    for x, left, right in zip(scores.tolist(), edges, edges[1:], strict=False):
        high = 46 * abs(x) / top
        y, side = (50 - high, "for") if x > 0 else (50.0, "against")
        size = f'x="{1000 * left + 1:.1f}" width="{max(1.0, 1000 * (right - left) - 2):.1f}" height="{high:.1f}"'
        rects.append(f'<rect class="{side}" {size} y="{y:.1f}" vector-effect="non-scaling-stroke"/>')
    label = escape(plain(f"scores of the parts of {name}, from left to right"))
    return Markup(
        f'<svg class="parts" viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" aria-label="{label}">'
        f'{"".join(rects)}<path class="axis" d="M0 50H1000" vector-effect="non-scaling-stroke"/></svg>'
    )


def curve(share: np.ndarray, own: np.ndarray, rand: np.ndarray, name: str) -> "Markup":
    """SVG of an output by the share of parts that are hidden or shown, beside that of random orders."""
    from markupsafe import Markup

    low, high = (float(f([f(own), f(rand)])) for f in (np.min, np.max))
    spread = (high - low) or 1.0

    def line(y_k: np.ndarray) -> str:
        return " ".join(
            f"{50 + 300 * s:.1f},{130 - 115 * (y - low) / spread:.1f}" for s, y in zip(share, y_k, strict=True)
        )

    return Markup(
        f'<svg viewBox="0 0 370 160" role="img" aria-label="{name} curve, its figures are in the table below">'
        f'<path class="axis" d="M50 10V130H350"/><polyline class="random" points="{line(rand)}"/>'
        f'<polyline class="own" points="{line(own)}"/><text x="46" y="20" text-anchor="end">'
        f"{figure(round(high, 3))}</text>"
        f'<text x="46" y="132" text-anchor="end">{figure(round(low, 3))}</text><text x="50" y="150">0%</text>'
        f'<text x="350" y="150" text-anchor="end">100%</text></svg>'
    )


# --- cells --------------------------------------------------------------------------------------------


def _space(s: Space) -> dict[str, Any]:
    away = None if s.other is None else s.other.row
    rows = [_neighbour(n, n.row == away) for n in s.nearest]
    rows += [_neighbour(s.other, True)] if s.other is not None and away not in [n.row for n in s.nearest] else []
    return {"name": "all together" if s.modality == FUSED else s.modality, "rows": rows}


def _neighbour(n: Neighbour, other: bool) -> dict[str, Any]:
    things = [_thing(x, f"{m} of row {n.row}", 160, 0) for m, x in n.cells.items()]
    label = "no label" if n.label is None else n.label
    return {"row": n.row, "label": label, "distance": f"{n.distance:.3f}", "other": other, "cells": things}


def _thing(x: Shown, name: str, side: int, limit: int) -> Thing:
    """A cell for the eye; a file that can't be shown is named."""
    try:
        if x.kind == "image":
            return Thing(_jpeg(thumbnail(x.cell, side).convert("RGB")), f"the picture in {name}")
        if x.kind == "audio" and limit:
            return Thing("", name, x.text, sound(x.cell, 30.0, limit))
    except (Unreadable, OSError, ValueError):
        pass
    return Thing(text=x.text)
