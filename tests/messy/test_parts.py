"""Every extractor, every codec and every encoder on cells of every shape, read as one batch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from messy import table
from polymodal.errors import Unreadable
from polymodal.learners.matrix import records
from polymodal.modalities import MODALITIES
from polymodal.modalities.base import Codec
from polymodal.modalities.features import Features
from polymodal.nn import SIZES

FIELDS = {"price": "number", "seller": "category", "day": "date", "gift": "boolean"}
COLUMNS = {"photo": "image", "clip": "audio", "pulse": "series", "motion": "series", "note": "text", "vector": "vector"}
each = pytest.mark.parametrize("column", [*COLUMNS, "table"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cells")
    (folder / "vectors.txt").write_text("lovely 0.1 0.2\nawful 1 2\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def cells(folder: Path) -> dict[str, list[Any]]:
    """By column, all cells that are whole, then those that hold nothing, then the damaged ones."""
    out: dict[str, list[Any]] = {}
    for column in COLUMNS:
        found = [*table.WHOLE[column], None, *table.EMPTY.get(column, []), *table.DAMAGED.get(column, [])]
        found = table.saved(found, folder)
        out[column] = [folder / c if isinstance(c, str) and column != "note" else c for c in found]
    fields = {c: [*table.WHOLE[c], None, *table.DAMAGED.get(c, [])] for c in FIELDS}
    rows = [{c: x[i % len(x)] for c, x in fields.items()} for i in range(40)]
    out["table"] = [*rows, None, dict.fromkeys(FIELDS)]
    return out


def encoded(codec: Codec, column: str, cells: list[Any]) -> tuple[list[torch.Tensor | None], int]:
    """What the codec reads of each cell, and how many it can't: none of those that are whole."""
    found = codec.encode_batch(cells)
    bad = [i for i, x in enumerate(found) if isinstance(x, Unreadable)]
    whole = len(cells) - len(table.DAMAGED.get(column, []))
    assert all(i >= whole for i in bad), f"{codec} of {column} can't read {[cells[i] for i in bad if i < whole]}"
    return [None if isinstance(x, Unreadable) else x for x in found], len(bad)


@each
def test_every_extractor_reads_every_shape_and_its_records_survive_a_batch(
    column: str, cells: dict[str, list[Any]], folder: Path
) -> None:
    for name, extractor in MODALITIES[COLUMNS.get(column, "tabular")].extractors.items():
        made = extractor(**({"path": str(folder / "vectors.txt")} if name == "wordvectors" else {}))
        codec = Features(made)
        came, _ = encoded(codec, column, cells[column])
        x = codec.collate(came)
        assert x.mask.shape == x.values.shape[: x.mask.ndim], name
        back = records(x)
        for a, b in zip(came, back, strict=True):
            assert (a is None) == (b is None), name
            assert a is None or (a.shape == b.shape and np.array_equal(a.numpy(), b, equal_nan=True)), name
        rows = made.learn(back).vectors(back)
        rows = rows.toarray() if hasattr(rows, "toarray") else rows
        assert rows.shape == (len(came), len(made.names())), name
        assert not np.isinf(rows).any(), name


@each
def test_every_codec_and_encoder_reads_every_shape(column: str, cells: dict[str, list[Any]]) -> None:
    modality, size = MODALITIES[COLUMNS.get(column, "tabular")], SIZES["tiny"]
    for codec_name, cls in modality.codecs.items():
        codec = cls(**modality.settings(FIELDS)).fit(cells[column], size)
        came, bad = encoded(codec, column, cells[column])
        assert bad == len(table.DAMAGED.get(column, [])), f"{codec_name}: damaged cells that nobody is told of"
        x = codec.collate(came)
        assert x.mask.shape == x.values.shape[: x.mask.ndim], codec_name
        assert x.present().tolist() == [c is not None for c in came], codec_name
        for name, encoder in modality.encoders.items():
            torch.manual_seed(0)
            with torch.no_grad():
                tokens = encoder.for_codec(codec, size).eval()(x)
            assert tokens.values[tokens.mask].isfinite().all(), f"{codec_name}+{name}"
            assert tokens.present().tolist() == x.present().tolist(), f"{codec_name}+{name}"
