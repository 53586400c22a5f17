"""`polymodal modalities`."""

from typing import Any

from polymodal.cli.app import app
from polymodal.cli.options import JsonOpt, print_json


@app.command()
def modalities(as_json: JsonOpt = False) -> None:
    """List the kinds of column: what a cell may be, encoders (the first is the default), features, kinds of noise.

    These are the names that other commands take. A kind in fit --modality COLUMN=KIND; an encoder, or what it reads and an encoder, in fit --encoder COLUMN=words+gru; features in features --select COLUMN=NAMES, those that fit tries by itself marked *; noise in robustness --kinds COLUMN=NOISE. Where pretrained networks can be read, --encoder takes the name or folder of one, too.
    """
    from polymodal.modalities import MODALITIES

    forms = [_form(m) for m in MODALITIES.values()]
    if as_json:
        print_json({"modalities": forms})
    else:
        _show(forms)


def _form(m: Any) -> dict[str, Any]:
    return {
        "kinds": list(m.kinds),
        "cells": m.cells,
        "reads": list(m.codecs),
        "encoders": list(m.encoders),
        "pretrained": m.hub is not None,
        "features": {n: n in m.default_extractors for n in m.extractors},
        "noise": [] if m.noise is None else list(m.noise.kinds),
    }


def _show(forms: list[dict[str, Any]]) -> None:
    from polymodal.view.blocks import Block, Facts, Words
    from polymodal.view.console import show

    blocks: list[Block] = []
    for m in forms:
        blocks.append(Facts([(", ".join(m["kinds"]), m["cells"])]))
        features = ", ".join(n + "*" * default for n, default in m["features"].items())
        encoders = ", ".join(m["encoders"]) + (", or a pretrained network" if m["pretrained"] else "")
        lines = {"reads": ", ".join(m["reads"]), "encoders": encoders, "features": features}
        lines["noise"] = ", ".join([*m["noise"], "mismatch"])
        blocks += [Words(f"  {name:<9} {words}") for name, words in lines.items() if words]
    show(blocks)
