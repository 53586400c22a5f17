"""A kind of column that the library has never heard of: a folder's worth of code and one entry of the table.

Strands of DNA are guessed, measured, read by a network and by estimators, spoiled, explained and shown on pages, and
nothing of the library is changed for it.
"""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import polymodal
from flat import fit
from polymodal import extract
from polymodal.batch import Masked
from polymodal.errors import Unreadable
from polymodal.explain.parts import attribute
from polymodal.modalities import MODALITIES
from polymodal.modalities.base import Codec, Encoder, Guess, pad
from polymodal.modalities.extractor import Extractor, Record, dense
from polymodal.modalities.noise import Noise, Noises, plain
from polymodal.modalities.places import Columns
from polymodal.modalities.record import Modality
from polymodal.modalities.segments import Codecs, Cut, Inputs, Open, Segments, views
from polymodal.modalities.sizes import Measure, span
from polymodal.nn import Size
from polymodal.ops import zeroed
from polymodal.robustness import robustness

BASES = "ACGT"
CODON = 3


def strand(cell: Any) -> str:
    if not (found := re.fullmatch(f"[{BASES}]+", str(cell).strip())):
        raise Unreadable(f"{cell!r} is no strand of {BASES}")
    return found.group()


class Bases(Codec):
    """A strand -> the number of each base (T,)."""

    kind: ClassVar[str] = "dna"

    @classmethod
    def accepts(cls, cells: Sequence[Any]) -> Guess:
        good = sum(isinstance(c, str) and re.fullmatch(f"[{BASES}]{{8,}}", c) is not None for c in cells)
        return Guess(good / max(1, len(cells)), f"{good} of {len(cells)} cells are strands")

    def fit(self, cells: Iterable[Any], size: Size) -> Self:
        self.length_ = size.tokens
        return self

    def encode(self, cell: Any) -> Tensor | None:
        return None if cell is None else torch.tensor([BASES.index(c) for c in strand(cell)[: self.length_]])

    def collate(self, cells: Sequence[Tensor | None]) -> Masked:
        return pad(cells, torch.zeros(0, dtype=torch.long))


class Reader(Encoder):
    """A vector for each base, and for what stands before it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim, self.table, self.conv = dim, nn.Embedding(4, dim), nn.Conv1d(dim, dim, 3, padding=1)

    @classmethod
    def for_codec(cls, codec: Any, size: Size) -> Self:
        return cls(size.dim)

    def entrance(self) -> nn.Module:
        return self.table

    def forward(self, x: Masked) -> Masked:
        y_btd = zeroed(Masked(self.table(zeroed(x)), x.mask))
        y_btd = y_btd + self.conv(y_btd.transpose(1, 2)).transpose(1, 2).relu()
        return Masked(zeroed(Masked(y_btd, x.mask)), x.mask)


class Shares(Extractor):
    """How often each pair of bases stands side by side."""

    kind: ClassVar[str] = "dna"

    def read(self, cell: Any) -> Record | None:
        s = strand(cell)
        pairs = [a + b for a in BASES for b in BASES]
        return np.array([sum(s[i : i + 2] == p for i in range(len(s))) / len(s) for p in pairs], dtype=np.float32)

    def learn(self, records: Sequence[Record | None]) -> Self:
        return self

    def vectors(self, records: Sequence[Record | None]) -> np.ndarray:
        return dense(records, 16)

    def names(self) -> list[str]:
        return [f"share_{a}{b}" for a in BASES for b in BASES]


def mutated(cell: str, severity: float, rng: np.random.Generator) -> str:
    u, other = rng.random(len(cell)), rng.integers(0, 4, len(cell))
    return "".join(BASES[k] if x < severity else c for c, x, k in zip(cell, u, other, strict=True))


def codons(codecs: Codecs, xs: Inputs, cell: Any, label: str, most: int) -> Cut:
    s = strand(cell)
    part = np.arange(len(s)) // CODON

    def opened(view: str, codec: Codec, x: Masked) -> Open | None:
        return Open(x, torch.from_numpy(part[: x.mask.shape[1]])) if isinstance(codec, Bases) else None

    def changed(away: np.ndarray) -> str | None:
        return "".join(c for c, gone in zip(s, away[part], strict=True) if not gone) or None

    names = tuple(f"codon {i + 1}" for i in range(part[-1] + 1))
    where = Columns(names, tuple(s[i : i + CODON] for i in range(0, len(s), CODON)))
    return Cut(where, len(names), views(codecs, xs, opened, changed))


DNA = Modality(
    kind="dna",
    cells="strands of A, C, G and T",
    codecs={"bases": Bases},
    encoders={"reader": Reader},
    extractors={"shares": Shares},
    default_extractors=["shares"],
    legible=True,
    measure=Measure(("bases",), lambda cell: (len(strand(cell)),), lambda s: f"{span(s['bases'])} bases"),
    noise=Noises(strand, {"mutations": Noise((0, 0.5, 1), "{:.0%} of the bases", plain(mutated))}),
    segments=Segments(40, codons),
)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 rows whose label is whether the strand is rich in GC; a number beside it, which says little."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(60):
        rich = i % 2
        p = [0.1, 0.4, 0.4, 0.1] if rich else [0.4, 0.1, 0.1, 0.4]
        cell = "".join(rng.choice(list(BASES), int(rng.integers(20, 40)), p=p))
        rows.append({"strand": cell, "weight": float(rng.normal(0.3 * rich)), "origin": ["cold", "hot"][rich]})
    rows[3]["strand"], rows[4]["strand"] = None, "ACGU"
    path = tmp_path_factory.mktemp("dna") / "strands.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line in the table."""
    monkeypatch.setitem(MODALITIES, DNA.kind, DNA)


def test_it_is_told_measured_and_looked_through(table: Path) -> None:
    found = polymodal.inspect(table, "origin")
    assert (
        found.schema.columns["strand"].kind == "dna" and "57 of 59 cells" not in found.schema.columns["strand"].reason
    )
    assert found.sizes["strand"]["bases"]["min"] >= 20
    assert found.missing["strand"] == 1 and [b.reason for b in found.unreadable] == ["'ACGU' is no strand of ACGT"]
    assert found.schema.modalities()["strand"] == ("dna", ["strand"])
    json.dumps(found.to_json())


@pytest.mark.parametrize("fusion", ["gated", "features"])
def test_every_verb_takes_it(table: Path, tmp_path: Path, fusion: str, run: Any) -> None:
    options = {"preset": "fast"} if fusion == "features" else {"epochs": 20}
    fit(table, "origin", fusion=fusion, size="tiny", out=tmp_path / "model", **options)
    model = polymodal.load(tmp_path / "model")
    assert "strand" in model.modalities
    assert model.evaluate(table).metrics["accuracy"].value > 0.9
    said = model.predict(pd.DataFrame({"strand": ["GCGCGGCC" * 3, None, "AATTATAT" * 3], "weight": [0.1] * 3}))
    assert said["prediction"].tolist()[::2] == ["hot", "cold"]
    answer = robustness(model, table, levels=2)
    assert {x.kind for x in answer.noise if x.modality == "strand"} == {"mutations", "mismatch"}
    worst = next(x for x in answer.noise if x.kind == "mutations" and x.level == 1)
    assert worst.loss.value > 0.2, "of random bases nothing can be told"
    why = attribute(model, table, 1, "strand")
    assert why.method == ("occlusion" if fusion == "features" else "integrated-gradients")
    assert (
        isinstance(why.where, Columns)
        and why.where.names(len(why.scores))[0].startswith("codon 1")
        and np.abs(why.scores).max() > 0
    )
    for form in ("html", "png"):
        done = run(
            "explain", tmp_path / "model", table, "--row", 1, "--train", table, "--out", tmp_path / f"why.{form}"
        )
        assert done.returncode == 0, done.stderr
    done = run("report", tmp_path / "model", table, "--train", table, "--out", tmp_path / "report.html")
    assert done.returncode == 0, done.stderr
    page, whole = ((tmp_path / f"{name}.html").read_text(encoding="utf-8") for name in ("why", "report"))
    strands = pd.read_csv(table)["strand"].dropna()
    assert "codon " in page and any(x in page for x in strands), "its parts, and the nearest rows"
    assert "codon " in whole and any(x in whole for x in strands)


def test_its_features_are_extracted_and_commands_print_it(table: Path, tmp_path: Path, run: Any) -> None:
    frame = extract.features(table, ignore=["origin"]).frame
    assert frame["strand.share_GC"].notna().sum() == 58
    assert json.loads(run("modalities", "--json").stdout)["modalities"][-1]["features"] == {"shares": True}
    assert "20 to 39 bases" in run("inspect", table, "--target", "origin").stdout
