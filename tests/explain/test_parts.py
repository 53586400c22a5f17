"""Attribution: exact on linear models of every kind of cell, complete on networks, and planted signals found."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from polymodal import InputError
from polymodal.batch import Masked
from polymodal.data.preprocess import Preprocessor
from polymodal.data.schema import Schema
from polymodal.data.table import Table
from polymodal.explain.faithful import faithfulness
from polymodal.explain.integrated import integrated
from polymodal.explain.parts import Row, attribute, attribute_rows
from polymodal.fusion import FUSIONS
from polymodal.fusion.base import Late, one_token
from polymodal.learners.base import Learner
from polymodal.learners.ensemble import Ensemble
from polymodal.learners.network import Predictor
from polymodal.modalities import MODALITIES, choose
from polymodal.modalities.audio.place import Seconds
from polymodal.modalities.base import Encoder
from polymodal.modalities.extractor import Extractor
from polymodal.modalities.features import Features
from polymodal.modalities.image.place import Grid
from polymodal.modalities.places import Columns
from polymodal.modalities.segments import Closed, Cut, Open
from polymodal.modalities.series.place import Steps
from polymodal.modalities.text.codec import Bytes, Pieces
from polymodal.modalities.text.encoders import Embedding
from polymodal.modalities.text.place import Words
from polymodal.model import Model
from polymodal.nn import SIZES
from polymodal.ops import masked_mean, zeroed
from polymodal.output import Scores
from polymodal.summary import Report
from polymodal.tasks.classify import MultiClass
from polymodal.tasks.multilabel import MultiLabel
from polymodal.tasks.ordinal import RANK, Ordinal
from polymodal.tasks.regress import Regression
from polymodal.uncertainty import Calibration

pytest.importorskip("captum")
KINDS = {"photo": "image", "sound": "audio", "wave": "series", "steps": "series", "vector": "vector", "note": "text"}
TINY = SIZES["tiny"]
WORDS = "this box came today really well packed very nice hm".split()


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Cells of every kind, 24 rows; kind is whether the note says lovely."""
    folder, g, rows = tmp_path_factory.mktemp("cells"), np.random.default_rng(0), []
    for i in range(24):
        Image.fromarray(g.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(folder / f"{i}.png")
        soundfile.write(folder / f"{i}.wav", g.normal(0, 0.2, int(g.integers(2000, 4000))), 8000)
        good = bool(i % 2)
        note = [*g.choice(WORDS, 4), "lovely" if good else "awful", *g.choice(WORDS, int(g.integers(1, 4)))]
        rows.append(
            {
                "photo": f"{i}.png", "sound": f"{i}.wav", "wave": g.normal(size=int(g.integers(20, 30))).tolist(),
                "steps": g.normal(size=(9, 3)).tolist(), "vector": g.normal(size=12).tolist(), "note": " ".join(note),
                "price": float(g.normal()), "size": float(g.normal()), "city": str(g.choice(["Oslo", "Bergen"])),
                "kind": "good" if good else "poor", "y": float(g.normal()),
            }
        )  # fmt: skip
    rows[1]["note"], rows[2]["size"], rows[3]["photo"] = None, None, None
    rows[4]["steps"][2][1] = None
    return Table.read(rows, folder)


class Line(Encoder):
    """One token of width 1: the sum of its input, each value by a weight of its own."""

    def __init__(self, like: Tensor) -> None:
        super().__init__()
        self.dim = 1
        self.weight = nn.Parameter(torch.randn(like.shape))
        self.embedding = Embedding(200, 4, 0.0) if not like.is_floating_point() and like.ndim == 1 else None
        if self.embedding is not None:
            self.weight = nn.Parameter(torch.randn(len(like), 4))

    @classmethod
    def for_codec(cls, codec: Any, size: Any) -> "Line":
        raise AssertionError("is not asked for")

    def entrance(self) -> nn.Module | None:
        return self.embedding

    def forward(self, x: Masked) -> Masked:
        y = self.embedding(x) if self.embedding is not None else Masked(zeroed(x).float(), x.mask)
        weight = self.weight[: y.values.shape[1]] if y.values.ndim == self.weight.ndim + 1 else self.weight
        return Masked((y.values * weight).flatten(1).sum(1)[:, None, None], x.present()[:, None])


class Add(Late):
    """The sum of what each modality says."""

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        xs = self.ordered(inputs)
        return one_token(torch.stack([masked_mean(x) for x in xs]).sum(0), xs)


def prepared(table: Table, target: str, columns: list[str], codecs: Mapping[str, Any] | None = None) -> Preprocessor:
    kinds = {c: KINDS[c] for c in columns if c in KINDS}
    ignore = [c for c in table.columns if c not in columns and c != target]
    schema = Schema.infer(table, target, kinds=kinds, ignore=ignore)
    made = {}
    for m, (kind, of) in schema.modalities().items():
        settings = {"columns": {c: schema.columns[c].kind for c in of}} if kind == "tabular" else None
        made[m] = (codecs or {}).get(m) or choose(kind, settings=settings)[0]
    return Preprocessor(schema, made).fit(table, TINY, quiet=True)


def task_of(table: Table, target: str) -> Any:
    return (Regression() if target == "y" else MultiClass()).fit(table.cells(target))


def straight(table: Table, columns: list[str], **codecs: Any) -> Model:
    """A regression that is a sum of weighted values, in units of the target."""
    torch.manual_seed(1)
    prep = prepared(table, "y", columns, codecs)
    rows = prep.encode(table, None, quiet=True).batch(range(table.rows)).inputs
    encoders = {m: Line(x.values[0]) for m, x in rows.items()}
    task = task_of(table, "y")
    return Model(prep, Predictor(encoders, Add(dict.fromkeys(encoders, 1), 1, link="identity"), task))


def network(table: Table, columns: list[str], fusion: str = "concat", target: str = "kind", **names: str) -> Model:
    torch.manual_seed(2)
    prep, task = prepared(table, target, columns), task_of(table, target)
    kinds = prep.schema.modalities()
    encoders = {
        m: choose(
            kinds[m][0],
            names.get("tabular" if kinds[m][0] == "tabular" else m),
            settings={"columns": {}} if kinds[m][0] == "tabular" else None,
        )[1].for_codec(c, TINY)
        for m, c in prep.codecs.items()
    }
    fused = FUSIONS[fusion]({m: e.dim for m, e in encoders.items()}, 16)
    return Model(prep, Predictor(encoders, fused, task))


def test_what_is_explained_is_the_probability_that_is_predicted(table: Table) -> None:
    model = network(table, ["note", "price"])
    model.report = Report(calibration=Calibration(4.0, 10, None, None, model.modalities, []))
    found = attribute(model, table, 3, "note", method="occlusion")
    answer = model.predict(table.take([2])).iloc[0]
    p = answer[f"probability[{answer['prediction']}]"]
    assert found.faithful.deletion[0] == pytest.approx(p, abs=1e-6)
    smooth = attribute(model, table, 3, "note")
    model.report = Report()
    plain = attribute(model, table, 3, "note")
    assert np.allclose(smooth.scores, plain.scores / 4, atol=1e-6) and plain.scores.any(), "log odds of what is said"


# --- linear models: every method is exact -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["wave", "steps", "sound", "price", "vector", "note", "photo"])
def test_a_linear_model_is_explained_exactly(table: Table, name: str) -> None:
    model = straight(table, ["price", "size", name] if name != "price" else ["price", "size", "wave"])
    modality = "table" if name == "price" else name
    modality = modality if modality in model.modalities else next(m for m in model.modalities if m != "wave")
    row = 5
    smooth = attribute(model, table, row, modality)
    hidden = attribute(model, table, row, modality, method="occlusion")
    assert smooth.method == "integrated-gradients" and hidden.method == "occlusion"
    # by hand: the weight of each value times how far it is from what an absent one is
    x = model.preprocessor.encode(table.take([row - 1]), None, quiet=True).batch([0]).inputs[modality]
    encoder = model.learner.encoders[modality]
    values = encoder.embedding(x).values if name == "note" else x.values.float()
    blank = 255 * torch.tensor(model.preprocessor.codecs[modality].mean_)[:, None, None] if name == "photo" else 0
    each = ((values - blank) * encoder.weight[: values.shape[1]] if values.ndim == encoder.weight.ndim + 1 and name != "photo" else (values - blank) * encoder.weight)[0]  # fmt: skip
    cut = _cut(model, table, row, modality)
    owner = cut.views[modality].owners() if name != "note" else cut.views[modality].owner[:, None].expand(each.shape)
    expected = np.zeros(cut.parts)
    for s in range(cut.parts):
        expected[s] = float(each.detach()[owner == s].double().sum()) * model.task.scale_[0]
    scale = np.abs(expected).max()
    assert cut.parts > 1 and scale > 0
    assert np.allclose(smooth.scores, expected, atol=2e-4 * scale)
    # of a picture a hidden pixel is a whole number of 255; of a sum no order of hiding matters
    assert np.allclose(hidden.scores, expected, atol=(0.05 if name == "photo" else 2e-3) * scale)
    assert cut.parts < 3 or (smooth.faithful.gain > 0.1 and smooth.faithful.randomised is not None)


def _cut(model: Model, table: Table, row: int, modality: str) -> Cut:
    prep = model.preprocessor
    kind, columns = prep.schema.modalities()[modality]
    x = prep.encode(table.take([row - 1]), None, quiet=True).batch([0]).inputs[modality]
    name = table.cells(columns[0])[row - 1]
    cell = {c: table.cells(c)[row - 1] for c in columns} if kind == "tabular" else name
    cell = table.folder / name if kind in ("image", "audio") else cell
    return MODALITIES[kind].cut({modality: prep.codecs[modality]}, {modality: x}, cell, name)


# --- networks: complete, and nothing where nothing is -------------------------------------------------------

NETWORKS = [
    ("note", "transformer"), ("note", "conv"), ("note", "gru"), ("note", "bag"), ("note", "bytes+conv"),
    ("photo", "convnet"), ("photo", "vit"), ("sound", "conv"), ("sound", "transformer"), ("wave", "tcn"),
    ("steps", "transformer"), ("vector", "projection"), ("price", "mlp"), ("price", "ft-transformer"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "encoder"), NETWORKS)
def test_scores_sum_to_the_answer_less_that_of_the_baseline(table: Table, name: str, encoder: str) -> None:
    codecs = {"note": Bytes()} if encoder.startswith("bytes") else None
    columns = ["price", "size", "city"] if name == "price" else [name, "price"]
    torch.manual_seed(3)
    prep, task = prepared(table, "kind", columns, codecs), task_of(table, "kind")
    modality = name if name != "price" else prep.modalities[0]
    encoders = {}
    for m, codec in prep.codecs.items():
        kind = prep.schema.modalities()[m][0]
        of = encoder if m == modality else None
        encoders[m] = choose(kind, of, settings={"columns": {}} if kind == "tabular" else None)[1].for_codec(
            codec, TINY
        )
    fused = FUSIONS["concat"]({m: e.dim for m, e in encoders.items()}, 16)
    learner = Predictor(encoders, fused, task).eval()
    rows = prep.encode(table.take([6]), None, quiet=True)
    inputs = rows.batch([0]).inputs
    cut = _cut(Model(prep, learner), table, 7, modality)
    found = integrated(learner, inputs, cut, 1)
    with torch.no_grad():
        y = learner.infer(inputs).values
    assert found.value == pytest.approx(float((y[:, 1] - y[:, 0])[0]), rel=1e-4), "the log odds of the second class"
    size = np.abs(found.scores).sum()
    assert found.scores.sum() == pytest.approx(found.value - found.blank, abs=0.03 * size + 1e-4)
    assert found.gap <= 0.02 * size + 1e-4 and size > 1e-3
    if encoder == "projection":  # a linear map and a norm: all that happens is near the baseline
        assert integrated(learner, inputs, cut, 1, (16,)).gap <= 0.002 * size


def test_what_is_not_there_gets_exactly_nothing(table: Table) -> None:
    model = network(table, ["note", "price", "size", "city"])
    for method in ("integrated-gradients", "occlusion"):
        found = attribute(model, table, 3, "table", method=method)  # row 3 has no size
        assert isinstance(found.where, Columns)
        scores = dict(zip(found.where.columns, found.scores, strict=True))
        assert scores["size"] == 0 and scores["price"] != 0 and scores["city"] != 0
        assert dict(zip(found.where.columns, found.where.cells, strict=True))["size"] == ""
    codec = model.preprocessor.codecs["note"]
    codec.length_ = 5  # the network reads five words, whatever the text has
    words = attribute(model, table, 5, "note")
    assert isinstance(words.where, Words) and words.where.parts == table.cells("note")[4].split()[:5]
    steps = attribute(network(table, ["steps", "price"]), table, 5, "steps", method="occlusion")
    assert isinstance(steps.where, Steps) and len(steps.where.channels) == 3
    grid = steps.where.grid(steps.scores[None])[0]
    assert grid[1, np.searchsorted(steps.where.edges, 2, side="right") - 1] == 0  # the one gap, of channel 2
    assert (grid != 0).sum() > 10


def test_hidden_parts_are_as_absent_as_an_empty_cell(table: Table) -> None:
    model = network(table, ["note", "steps", "price", "size"])
    rows = model.preprocessor.encode(table, None, quiet=True)
    for modality in model.modalities:
        found = attribute(model, table, 6, modality, method="occlusion", output="good")
        empty = rows.hidden({modality: np.ones(table.rows, dtype=bool)})
        p = model.task.values(model.logits(empty.take([5])))[0, model.task.labels_.index("good")]
        assert found.faithful.deletion[-1] == pytest.approx(p, abs=1e-5)
        full = model.task.values(model.logits(rows.take([5])))[0, model.task.labels_.index("good")]
        assert found.faithful.deletion[0] == pytest.approx(full, abs=1e-5)
    without = table.take([5]).replaced({"size": [None]})
    found = attribute(model, table, 6, "table", method="occlusion", output="good")
    p = model.task.values(model.logits(model.preprocessor.encode(without, None, quiet=True)))
    size = found.scores[found.where.columns.index("size")]
    assert size == pytest.approx(found.faithful.deletion[0] - p[0, model.task.labels_.index("good")], abs=1e-5)


def test_the_explained_output(table: Table) -> None:
    model = network(table, ["note", "price"])
    both = [attribute(model, table, 4, "note", output=o, method="occlusion") for o in ("good", "poor")]
    assert [b.output for b in both] == ["good", "poor"]
    assert np.allclose(both[0].scores, -both[1].scores, atol=1e-6), "what speaks for one speaks against the other"
    own = attribute(model, table, 4, "note", method="occlusion")
    assert own.output == model.predict(table)["prediction"][3]
    logits = torch.tensor([[2.0, 0.3, -1.0]], dtype=torch.float64)
    several = (MultiClass().fit(list("abc")), Ordinal().fit([1, 2, 3, 4]), MultiLabel().fit(["a|b", "b|c", "a"]))
    for task in several:
        values = task.values(logits)[0]
        for k, p in enumerate(values):
            expected = p if task.quantities.names[k] == RANK else np.log(p / (1 - p))
            assert float(task.evidence(logits, k)) == pytest.approx(expected, abs=1e-6)
    task = Regression().fit([1.0, 2.0, 5.0])
    assert float(task.evidence(logits[:, :1], 0)) == pytest.approx(task.values(logits[:, :1])[0, 0])


# --- places -----------------------------------------------------------------------------------------------


def test_places_give_back_what_is_in_the_cell(table: Table) -> None:
    model = straight(table, ["photo", "sound", "wave", "vector", "note"])
    found = {m: attribute(model, table, 6, m) for m in model.modalities}
    note = found["note"].where
    assert isinstance(note, Words) and note.parts == table.cells("note")[5].split()
    assert note.words(np.eye(len(note.spans))[[1]]) == [note.parts[1]]
    photo, sound = found["photo"].where, found["sound"].where
    assert isinstance(photo, Grid) and (photo.height, photo.width) == (7, 9) and photo.name == "5.png"
    seconds = len(soundfile.read(table.folder / "5.wav")[0]) / 8000
    assert isinstance(sound, Seconds) and sound.edges[0] == 0 and sound.edges[-1] == pytest.approx(seconds)
    wave, vector = found["wave"].where, found["vector"].where
    assert isinstance(wave, Steps) and wave.edges[-1] == wave.length == len(table.cells("wave")[5])
    assert wave.words(np.eye(len(wave.edges) - 1)[[0]])[0].startswith("reading")
    assert isinstance(vector, Columns) and vector.columns[0] == "dimension 1" and len(vector.columns) == 12
    for a in found.values():
        assert json.loads(json.dumps(a.to_json()))["scores"] and len(a.scores) >= 6
        places = a.where.to_json()
        assert places["kind"] in ("words", "grid", "seconds", "steps", "columns")


@pytest.mark.parametrize("text", ["Über  naïve 照片, caf\u0065\u0301!", "a" * 300, "İstanbul is İzmir", "one"])
def test_tokens_of_any_codec_lie_in_their_words(text: str) -> None:
    pytest.importorskip("tokenizers")
    for codec in (choose("text")[0], Bytes(), Pieces(300)):
        codec.fit([text, "one two one two"] * 4, TINY)
        x = codec.collate([codec.encode(text)])
        cut = MODALITIES["text"].cut({"t": codec}, {"t": x}, text, text)
        assert isinstance(cut.where, Words) and cut.parts == len(cut.where.parts) >= 1
        assert all(p and not p.isspace() for p in cut.where.parts)
        view = cut.views["t"]
        if isinstance(view, Closed):
            assert "İ" in text, "lower case is longer there"
            continue
        away = np.eye(cut.parts, dtype=bool)
        assert bool((view.hidden(np.ones((1, cut.parts), dtype=bool)).mask & (view.owner >= 0)).sum() == 0)
        if isinstance(codec, Bytes):
            for s, word in enumerate(cut.where.parts):
                gone = x.mask[0] & ~view.hidden(away)[1][s]
                inside = bytes(x.values[0][gone].tolist()).decode("utf-8", "ignore")
                assert word.startswith(inside) and inside


def test_long_texts_and_vectors_have_parts_of_neighbours() -> None:
    text = " ".join(f"w{i}" for i in range(500))
    codec = choose("text")[0].fit([text] * 3, SIZES["large"])
    cut = MODALITIES["text"].cut({"t": codec}, {"t": codec.collate([codec.encode(text)])}, text, text)
    assert isinstance(cut.where, Words) and 100 < cut.parts <= 128 and cut.where.parts[0] == "w0 w1 w2 w3"
    vector = choose("vector")[0].fit([list(range(100)), list(range(1, 101))], TINY)
    cell = list(range(100))
    cut = MODALITIES["vector"].cut({"v": vector}, {"v": vector.collate([vector.encode(cell)])}, cell, cell)
    assert isinstance(cut.where, Columns) and cut.parts == 25 and cut.where.columns[1] == "dimensions 5-8"
    assert cut.where.cells[1] == "5.5"


# --- learners without gradients -----------------------------------------------------------------------------


class Says(Extractor):
    """How often a text says lovely, less how often awful."""

    kind = "text"
    costly = False

    def read(self, cell: Any) -> Any:
        words = cell.split()
        return np.array([words.count("lovely") - words.count("awful"), len(words)], dtype=np.float32) if words else None

    def learn(self, records: Any) -> "Says":
        return self

    def vectors(self, records: Any) -> Any:
        raise AssertionError("is not asked for")

    def names(self) -> list[str]:
        return ["lovely", "words"]


class Ruled(Learner):
    """Answers by a rule over records, without weights or gradients."""

    def __init__(self, task: Any) -> None:
        super().__init__()
        self.task = task

    @property
    def reads(self) -> list[str]:
        return ["note/says"]

    def describe(self) -> list[str]:
        return ["a rule"]

    def infer(self, inputs: Mapping[str, Masked]) -> Scores:
        x_b = zeroed(inputs["note/says"])[:, 0].float()
        good, poor = 2 * x_b, -x_b
        return Scores(torch.stack([good, poor] if self.task.labels_[0] == "good" else [poor, good], dim=1))

    def recombine(self, inputs: Mapping[str, Masked]) -> Callable[[Mapping[str, Tensor]], Scores]:
        return lambda at: self.infer({v: x.take(at[v]) for v, x in inputs.items()})


def test_features_of_a_text_are_explained_by_cutting_words_out_of_it(table: Table) -> None:
    plain = prepared(table, "kind", ["note"])
    prep = Preprocessor(plain.schema, {"note/says": Features(Says())}, {"note/says": "note"})
    model = Model(prep, Ruled(task_of(table, "kind")))
    found = attribute(model, table, 4, "note")
    assert found.method == "occlusion" and found.view == "note/says" and found.faithful.randomised is None
    assert isinstance(found.where, Words) and found.output == "good"
    best = found.where.parts.index("lovely")
    p = 1 / (1 + np.exp(-3.0))
    assert found.scores[best] == pytest.approx(p - 0.5) and np.count_nonzero(found.scores) == 1
    assert found.faithful.gain > 0.1
    with pytest.raises(InputError, match=r"need a network that reads the modality itself.*method occlusion"):
        attribute(model, table, 4, "note", method="integrated-gradients")
    with pytest.raises(InputError, match="this model is a Ruled"):
        attribute(model, table, 4, "note", method="rollout")
    net = network(table, ["note", "price"])
    both = Preprocessor(
        net.preprocessor.schema, {**net.preprocessor.codecs, **prep.codecs}, {**net.preprocessor.views, **prep.views}
    )
    blend = Ensemble({"net": net.learner, "rule": model.learner}, {"net": 0.2, "rule": 0.8}, net.task)
    mixed = attribute(Model(both, blend), table, 4, "note")
    assert mixed.method == "occlusion" and mixed.where.parts[mixed.scores.argmax()] == "lovely"
    nets = Ensemble(
        {"a": net.learner, "b": network(table, ["note", "price"], "gated").learner}, {"a": 0.5, "b": 0.5}, net.task
    )
    smooth = attribute(Model(net.preprocessor, nets), table, 4, "note")
    assert smooth.method == "integrated-gradients" and smooth.faithful.randomised is not None


class Mean(Extractor):
    """The loudness, brightness or level of a cell."""

    costly = False
    takes_files = True

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def read(self, cell: Any) -> Any:
        x = cell[0] if isinstance(cell, tuple) else np.asarray(cell, dtype=np.float64)
        x = x[np.isfinite(x)] if self.kind == "series" else x
        return np.array([np.square(x).mean()], dtype=np.float32) if x.size else None

    learn, vectors, names = Says.learn, Says.vectors, Says.names


@pytest.mark.parametrize("kind", ["image", "audio", "series", "vector"])
def test_changed_cells_lack_the_part_and_nothing_else(table: Table, kind: str) -> None:
    g = np.random.default_rng(0)
    cells = {
        "image": Image.fromarray(g.integers(0, 255, (24, 24, 3), dtype=np.uint8)), "audio": (g.normal(0, 0.1, 1600).astype(np.float32), 8000),
        "series": g.normal(size=(48, 2)), "vector": g.normal(size=8),
    }  # fmt: skip
    seen: list[Any] = []

    class Keeps(Mean):
        def read(self, cell: Any) -> Any:
            seen.append(cell)
            return np.ones(1, dtype=np.float32)

    codec = Features(Keeps(kind))
    cut = MODALITIES[kind].cut({"v": codec}, {"v": codec.collate([torch.ones(1)])}, cells[kind], "")
    view = cut.views["v"]
    assert isinstance(view, Closed)
    away = np.concatenate([np.zeros((1, cut.parts)), np.eye(cut.parts)]).astype(bool)
    view.hidden(away)
    view.hidden(away)  # known by now
    changed = [np.array(c[0] if isinstance(c, tuple) else c, dtype=np.float64) for c in seen]
    assert len(changed) == cut.parts + 1
    whole = changed[0].reshape(np.asarray(cells[kind][0] if kind == "audio" else cells[kind]).shape)
    assert np.array_equal(whole, np.asarray(cells[kind][0] if kind == "audio" else cells[kind], dtype=np.float64))
    touched = [~((c == changed[0]) | (np.isnan(c) & np.isnan(changed[0]))) for c in changed[1:]]
    if kind == "image":
        touched = [t.any(-1) for t in touched]
    count = np.sum(touched, axis=0)
    assert count.max() == 1 and count.mean() > 0.99, "each place belongs to one part"


# --- planted signals ------------------------------------------------------------------------------------------


SIGNALS = ("photo", "note", "table")


@pytest.fixture(scope="module", params=SIGNALS)
def trained(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Model, Table, list[int]]:
    """red or blue, said by one modality alone: a square in one of four places, a word, or the price."""
    folder, g = tmp_path_factory.mktemp("planted"), np.random.default_rng(0)
    rows, places = [], []
    for i in range(48):
        red, at = bool(i % 2), int(g.integers(4))
        says = {m: red if m == request.param else bool(g.integers(2)) for m in SIGNALS}
        picture = Image.new("RGB", (16, 16), (255 - i % 48,) * 3)  # no two are the same
        y, x = at // 2 * 8, at % 2 * 8
        ImageDraw.Draw(picture).rectangle([x, y, x + 7, y + 7], fill=(230, 20, 20) if says["photo"] else (30, 30, 230))
        picture.save(folder / f"{i}.png")
        note = [*g.choice(WORDS, 3), "lovely" if says["note"] else "awful", *g.choice(WORDS, 2)]
        numbers = {"price": 2.0 * says["table"] - 1 + g.normal(0, 0.1), "size": g.normal(), "width": g.normal()}
        rows.append({"photo": f"{i}.png", "note": " ".join(note), **numbers, "kind": "red" if red else "blue"})
        places.append(at)
    table = Table.read(rows, folder)
    columns = {"photo": ["photo", "price"], "note": ["note", "price"], "table": ["note", "price", "size", "width"]}
    model = network(table, columns[request.param], note="bag")
    batch = model.preprocessor.encode(table, model.task, quiet=True).batch(range(48))
    step = torch.optim.Adam(model.learner.parameters(), 0.01)
    torch.manual_seed(0)
    model.learner.train()
    for _ in range(12):
        step.zero_grad()
        model.learner.loss(batch).total.backward()
        step.step()
    model.learner.eval()
    return request.param, model, table, places


@pytest.mark.parametrize("method", ["integrated-gradients", "occlusion"])
def test_planted_signals_are_ranked_first(trained: tuple[str, Model, Table, list[int]], method: str) -> None:
    name, model, table, places = trained
    modality = name if name in model.modalities else next(m for m in model.modalities if m not in ("note", "photo"))
    hits, gains, wrong, drawn, same = [], [], [], [], []
    for row in range(1, 7):
        found = attribute(model, table, row, modality, method=method, output=table.cells("kind")[row - 1])
        top = int(found.scores.argmax())
        if isinstance(found.where, Grid):
            side = found.where.width // 2
            hits.append(
                (top // found.where.width // side, top % found.where.width // side) == divmod(places[row - 1], 2)
            )
        elif isinstance(found.where, Words):
            hits.append(found.where.parts[top] in ("lovely", "awful"))
        else:
            hits.append(isinstance(found.where, Columns) and found.where.columns[top] == "price")
        same.append(found.faithful.randomised)
        if np.ptp(found.faithful.deletion) < 0.1:
            continue  # the answer would be the same without
        gains.append(found.faithful.gain)
        one = _row(model, table, row, modality)
        wrong.append(faithfulness(-found.scores, one.outputs).gain)
        drawn.append(faithfulness(np.random.default_rng(row).normal(size=len(found.scores)), one.outputs).gain)
    assert np.mean(hits) >= 0.8, hits
    assert len(gains) >= 2
    assert np.mean(gains) > 0.1 > 0 > np.mean(wrong) and np.mean(gains) > np.mean(drawn) + 0.1
    assert abs(np.mean(same)) < 0.6, "random weights say something else"


def _row(model: Model, table: Table, row: int, modality: str) -> Row:
    cut = _cut(model, table, row, modality)
    inputs = model.preprocessor.encode(table.take([row - 1]), None, quiet=True).batch([0]).inputs
    at = model.task.labels_.index(table.cells("kind")[row - 1])
    return Row(model, inputs, modality, model.preprocessor.schema.modalities()[modality][0], cut, at)


def test_rollout_of_a_model(table: Table) -> None:
    model = network(table, ["photo", "note", "sound", "wave", "price", "size"], "attention", tabular="ft-transformer")
    each = {m: attribute(model, table, 6, m, method="rollout") for m in model.modalities}
    assert {a.method for a in each.values()} == {"rollout"}
    assert sum(a.scores.sum() for a in each.values()) == pytest.approx(1, abs=1e-3)
    assert all((a.scores >= 0).all() for a in each.values())
    with pytest.raises(InputError, match="Concat attends to no tokens"):
        attribute(network(table, ["note", "price"]), table, 6, "note", method="rollout")


# --- refusals ---------------------------------------------------------------------------------------------------


def test_what_can_not_be_explained_says_why(table: Table, tmp_path: Path) -> None:
    model = network(table, ["photo", "note", "price", "size"])
    refused = {
        r"no modality 'foto'; it has: photo, note, table": dict(row=1, modality="foto"),
        r"no method 'magic'; it is one of: auto, integrated-gradients": dict(row=1, modality="note", method="magic"),
        r"row 2 has nothing in 'note'.*the row has: photo, table": dict(row=2, modality="note"),
        r"has no row 25; its rows are 1 to 24": dict(row=25, modality="note"),
        r"has no row 0": dict(row=0, modality="note"),
        r"the model has no class 'fair'": dict(row=1, modality="note", output="fair"),
    }
    for text, arguments in refused.items():
        with pytest.raises(InputError, match=text):
            attribute(model, table, **arguments)
    (tmp_path / "5.png").write_bytes(b"no picture")
    broken = table.replaced({"photo": [str(tmp_path / "5.png")] * 24}).take([5])
    with pytest.raises(InputError, match="row 6 has nothing in 'photo' that can be read"):
        attribute(model, broken, 6, "photo")


def test_rows_that_are_encoded_already(table: Table) -> None:
    model = network(table, ["note", "price", "size"])
    rows = model.preprocessor.encode(table, model.task, quiet=True)
    one, two = attribute_rows(model, table, rows, 8, "note"), attribute(model, table, 9, "note")
    assert np.allclose(one.scores, two.scores, atol=1e-6) and one.faithful.gain == pytest.approx(two.faithful.gain)
    again = attribute(model, table, 9, "note")
    assert again.to_json() == two.to_json(), "the same every time"
    assert isinstance(_cut(model, table, 9, "note").views["note"], Open)
