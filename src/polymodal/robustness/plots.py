"""What a model loses, as plots: the subsets, cells removed, and noise on each modality."""

import re
from collections.abc import Sequence
from typing import Any

from polymodal.robustness.result import Absence, Noisy, Robustness, Subset
from polymodal.robustness.sentences import HOW
from polymodal.view import plot
from polymodal.view.plot import Ends, Line, Plot, Span
from polymodal.view.text import list_names

LONGEST = 44  # characters of a file's name


def plots(of: Robustness) -> dict[str, Plot]:
    """Every plot that there is something to draw for, by a name that a file may have."""
    out = {"subsets": subsets(of, sorted(of.subsets, key=lambda s: s.score.value * (-1 if of.higher else 1)))}
    if of.absence:
        out["absence"] = absence(of)
    for m in dict.fromkeys(x.modality for x in of.noise):
        name = plain_name(m)
        while f"noise-{name}" in out:
            name += "_"
        out[f"noise-{name}"] = noise(of, m)
    return out


def subsets(of: Robustness, lines: Sequence[Subset]) -> Plot:
    """The score of subsets of modalities with its 95% interval; a line stands at all of them."""
    whole = {len(of.modalities): ("all", True, "D")}
    rows = []
    for s in lines:
        name, main, mark = whole.get(len(s.present), (list_names(s.present), False, "o"))
        rows.append(Span(name, s.score, main, mark))
    return plot.spans(f"{of.metric} with some of the modalities", rows, _metric(of), at=[(of.clean.value, "--")])


def absence(of: Robustness) -> Plot:
    """The score over the share of cells that are gone, completely at random, at random and not at random."""
    ways: dict[str, list[Absence]] = {}
    for x in of.absence:
        ways.setdefault(HOW[x.how].format(by=x.by), []).append(x)
    lines = [_line(name, [100 * p.share for p in points], points) for name, points in ways.items()]
    return plot.curves(f"{of.metric} as cells are removed", lines, "cells removed, %", _metric(of))


def noise(of: Robustness, modality: str, ends: Ends = None) -> Plot:
    """The score over the level of each noise on one modality, with 95% intervals."""
    kinds: dict[str, list[Noisy]] = {}
    for x in of.noise:
        if x.modality == modality:
            kinds.setdefault(x.kind, []).append(x)
    lines = [_line(kind, [p.level for p in points], points) for kind, points in kinds.items()]
    ticks = [(i, str(i) if i else "clean") for i in range(of.levels)]
    title = f"{of.metric} as {modality} gets noisy"
    return plot.curves(title, lines, "level of the noise", _metric(of), ends=ends, ticks=ticks)


def plain_name(modality: str) -> str:
    """A column's name as part of a file's: letters, digits, "." and "-" of any script; "_" for the rest.

    >>> plain_name("ph/oto 'ü' x")
    'ph_oto_ü_x'
    """
    return re.sub(r"[^\w.-]+", "_", modality).strip("._")[:LONGEST] or "modality"


def _line(name: str, x: Sequence[float], points: Sequence[Any]) -> Line:
    value, low, high = zip(*(p.score for p in points), strict=True)
    return Line(name, x, value, low, high)


def _metric(of: Robustness) -> str:
    return f"{of.metric} ({'higher' if of.higher else 'lower'} is better)"
