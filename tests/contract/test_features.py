"""Every extractor of every modality, against every law of `modalities.extractor`."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from scipy.sparse import issparse
from sklearn.base import clone

from cases import over
from polymodal.errors import Unreadable
from polymodal.modalities import MODALITIES
from polymodal.modalities.extractor import Extractor

ENTRIES = [(kind, name) for kind, m in MODALITIES.items() for name in m.extractors]
each = over("kind, name", ENTRIES)


def text(g: np.random.Generator) -> list[Any]:
    words = ["a", "quiet", "film", "über", "not", "bad", "日本", "is", "it", "?", "\x00", "Very\nLOUD"]
    return [*(" ".join(g.choice(words, int(n))) for n in g.integers(2, 14, 9)), "Quiet film", "quiet film"]


def image(g: np.random.Generator) -> list[Any]:
    return [g.integers(0, 256, (int(h), 18, 3), dtype=np.uint8) for h in g.integers(12, 40, 6)]


def audio(g: np.random.Generator) -> list[Any]:
    return [(g.normal(size=int(n)).astype(np.float32) * 0.1, 8000) for n in g.integers(4000, 9000, 5)]


def series(g: np.random.Generator) -> list[Any]:
    return [g.normal(3, 5, (int(t), 3)) for t in g.integers(40, 150, 6)]


def tabular(g: np.random.Generator) -> list[Any]:
    return [
        {"brand": b, "colours": c, "price": 3.5}
        for b, c in zip(g.permutation(list("abcabd")), ["red / blue", "blue", "mauve"] * 2, strict=True)
    ]


CELLS: dict[str, Callable[[np.random.Generator], list[Any]]] = {
    "text": text,
    "image": image,
    "audio": audio,
    "series": series,
    "tabular": tabular,
}
DAMAGED = {"image": b"not an image", "audio": b"not a recording", "series": "no;numbers;here"}


def cells(kind: str, seed: int = 0) -> list[Any]:
    return CELLS[kind](np.random.default_rng(seed))


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str, str], Extractor]:
    """An extractor with its default settings; a file of vectors for the one that reads them."""
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("quiet 0.1 0.2 0.3\nfilm -1 2 0.5\nnot 3 0 1\nis 1 1 1\n", encoding="utf-8")

    def make(kind: str, name: str) -> Extractor:
        return MODALITIES[kind].extractors[name](**({"path": str(vectors)} if name == "wordvectors" else {}))

    return make


Make = Callable[[str, str], Extractor]


def full(x: Any) -> np.ndarray:
    assert x.dtype == np.float32
    return x.toarray() if issparse(x) else x


def equal(a: Any, b: Any) -> None:
    np.testing.assert_array_equal(full(a), full(b))


def close(a: Any, b: Any) -> None:
    """Equal but for the order in which floats are added up."""
    size = np.nanmax(np.abs(full(b)), initial=0)
    np.testing.assert_allclose(full(a), full(b), rtol=1e-4, atol=1e-5 * size)


@each
def test_every_entry_says_what_it_reads(kind: str, name: str) -> None:
    assert MODALITIES[kind].extractors[name].kind == kind
    assert set(MODALITIES[kind].default_extractors) <= set(MODALITIES[kind].extractors), "a default that is no entry"


@each
def test_reading_is_decided_by_the_cell_and_the_settings_alone(kind: str, name: str, make: Make) -> None:
    fresh, fitted = make(kind, name), make(kind, name).fit(cells(kind, 1))
    for cell in cells(kind):
        a, b = fresh.read(cell), fitted.read(cell)
        assert a is not None and b is not None
        assert a.dtype in (np.float32, np.float16, np.int64, np.uint8)
        assert 1 <= a.ndim <= 4 and len(a)
        np.testing.assert_array_equal(a, b)


@each
def test_names_are_unique_and_one_a_column(kind: str, name: str, make: Make) -> None:
    e = make(kind, name)
    x = e.fit_transform(cells(kind))
    assert x.shape == (len(cells(kind)), len(e.names()))
    assert x.shape[1] > 0
    assert len(set(e.names())) == len(e.names())
    assert e.get_feature_names_out().tolist() == e.names()


@each
def test_what_is_there_counts_and_is_finite(kind: str, name: str, make: Make) -> None:
    x = full(make(kind, name).fit_transform(cells(kind)))
    assert not np.isinf(x).any()
    assert (np.nan_to_num(x) != 0).any()
    assert len(np.unique(x, axis=0)) > 1, "all cells look alike"


@each
def test_what_is_absent_is_nan_or_zero_and_changes_nothing_else(kind: str, name: str, make: Make) -> None:
    c = cells(kind)
    gaps = [None, *c[:2], None, *c[2:]]
    plain, holey = make(kind, name).fit(c), make(kind, name).fit(gaps)
    x = holey.transform(gaps)
    absent = full(x)[[0, 3]]
    assert (absent == 0).all() if issparse(x) else np.isnan(absent).all()
    assert holey.names() == plain.names()
    close(x[[i for i in range(len(gaps)) if i not in (0, 3)]], plain.transform(c))


@each
def test_the_same_cells_give_the_same_numbers(kind: str, name: str, make: Make) -> None:
    a, b = make(kind, name), make(kind, name)
    x = a.fit_transform(cells(kind))
    equal(x, b.fit_transform(cells(kind)))
    equal(x, a.transform(cells(kind)))


@each
def test_rows_never_see_each_other(kind: str, name: str, make: Make) -> None:
    e = make(kind, name).fit(cells(kind))
    new = cells(kind, 1)
    x = e.transform(new)
    close(e.transform(new[::-1])[::-1], x)
    close(e.transform(new[1:2]), x[1:2])


@each
def test_cloned_it_has_the_same_settings_and_has_learned_nothing(kind: str, name: str, make: Make) -> None:
    e = make(kind, name).fit(cells(kind))
    copy = clone(e)
    assert copy.get_params() == e.get_params()
    assert not [k for k in vars(copy) if k.endswith("_")]
    equal(copy.fit_transform(cells(kind)), e.transform(cells(kind)))


@each
def test_saved_with_skops_it_gives_the_same_numbers(kind: str, name: str, make: Make) -> None:
    e = make(kind, name).fit(cells(kind))
    blob = skops.io.dumps(e)
    trusted = f"{type(e).__module__}.{type(e).__qualname__}"
    assert skops.io.get_untrusted_types(data=blob) == [trusted], "nothing but the class itself needs trust"
    again = skops.io.loads(blob, trusted=[trusted])
    assert again.names() == e.names()
    equal(again.transform(cells(kind, 1)), e.transform(cells(kind, 1)))


@over("kind, name", [(k, n) for k in DAMAGED for n in MODALITIES[k].extractors])  # text reads anything
def test_damaged_cells_are_absent_and_counted_in_one_warning(kind: str, name: str, make: Make) -> None:
    e, c = make(kind, name).fit(cells(kind)), cells(kind)
    with pytest.raises(Unreadable):
        e.read(DAMAGED[kind])
    with pytest.warns(UserWarning) as seen:
        x = e.transform([DAMAGED[kind], *c, DAMAGED[kind]])
    assert [
        f"2 of {len(c) + 2} cells can't be read and count as absent; the first: " in str(w.message) for w in seen
    ] == [True]
    equal(x, e.transform([None, *c, None]))


@each
@over("nothing", [[], [None, None]])
def test_a_column_without_a_cell_is_learned_from(kind: str, name: str, nothing: Sequence[Any], make: Make) -> None:
    e = make(kind, name).fit(nothing)
    for column in (nothing, [None, *cells(kind)]):
        assert full(e.transform(column)).shape == (len(column), len(e.names()))


@each
def test_one_training_cell_and_many_alike_are_enough(kind: str, name: str, make: Make) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for column in (cells(kind)[:1], cells(kind)[:1] * 5):
            x = full(make(kind, name).fit(column).transform(cells(kind, 1)))
            assert not np.isinf(x).any()
