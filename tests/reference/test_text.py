"""Text against its definitions."""

import sys
import tracemalloc
import unicodedata
from typing import Any

import pytest
import torch

from cases import over
from polymodal.batch import Masked
from polymodal.modalities.text.codec import Bytes, Pieces, Text, Words, split
from polymodal.modalities.text.encoders import TextBag, TextConv, TextGRU
from polymodal.nn import SIZES

TINY = SIZES["tiny"]
FILMS = ["A quiet film, not bad.", "The film is bad!", "a quiet QUIET town", None, "  "]


def test_words_are_counted_and_numbered_by_frequency() -> None:
    codec = Words(min_count=2).fit(FILMS, TINY)
    assert codec.vocabulary_ == ["quiet", "a", "bad", "film"]  # 3 times, then alphabetically
    assert codec.length_ == 14 and codec.vocabulary_size == 5
    ids = codec.encode("A bad, bad ending")
    assert ids is not None and ids.tolist() == [2, 3, 0, 3, 0] and ids.dtype == torch.long


def test_limit_keeps_the_commonest() -> None:
    assert Words(limit=1).fit(FILMS, TINY).vocabulary_ == ["quiet"]


@over(
    "text, words",
    [
        ("It's 3 o'clock", ["it", "'", "s", "3", "o", "'", "clock"]),
        ("naïve ÜBER", ["naïve", "über"]),
        (unicodedata.normalize("NFD", "naïve"), ["naïve"]),
        ("映画は bad", ["映", "画", "は", "bad"]),
        (3.5, ["3", ".", "5"]),
        (b"caf\xc3\xa9", ["café"]),
        (True, ["true"]),
        (float("nan"), []),
        ("\n\t ", []),
    ],
)
def test_split(text: Any, words: list[str]) -> None:
    assert split(text, 64) == words


@over("codec", [Words(), Bytes(), Pieces()])
def test_a_ten_megabyte_cell_costs_no_more_than_a_page(codec: Text) -> None:
    codec.fit([*FILMS, "word " * 500], TINY)
    for cell in ("word and, " * 1_000_000, "x" * 10_000_000, " " * 10_000_000 + "end", "e\u0301" * 5_000_000):
        tracemalloc.start()
        ids = codec.encode(cell)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert ids is not None and 1 <= len(ids) <= codec.length_
        assert peak < 2**20, "a copy of ten megabytes was made"


@over("codec", [Words(), Bytes(), Pieces()])
def test_odd_text_is_read(codec: Text) -> None:
    codec.fit([*FILMS, 12, "\ud800"], TINY)
    for cell in ("\ud800 broken", "👩‍👩‍👧 family", "a\x00b", 12, -1.5, "ﷺ" * 500):
        ids = codec.encode(cell)
        assert ids is not None and 0 <= ids.min() and ids.max() < codec.vocabulary_size
    for cell in (None, "", "   ", float("nan")):
        assert codec.encode(cell) is None


def test_bytes_are_utf8() -> None:
    codec = Bytes().fit(["é" * 1000], TINY)
    assert codec.length_ == 4 * TINY.tokens
    ids = codec.encode("aé")
    assert ids is not None and bytes(ids.tolist()) == "aé".encode()


def test_pieces_are_merged_bytes_and_learned_the_same_twice() -> None:
    texts = ["low lower lowest", "new newer newest", "wide wider widest"] * 5
    codec = Pieces(limit=300).fit(texts, TINY)
    assert codec.tokenizer_ == Pieces(limit=300).fit(texts, TINY).tokenizer_
    ids = codec.encode("Lower 映")
    assert ids is not None
    pieces = [codec._tokenizer().id_to_token(i) for i in ids.tolist()]
    assert pieces == ["Ġlower", "Ġ", "æ", "ĺ", "ł"]  # 映 is three bytes
    assert 256 < codec.vocabulary_size <= 300


def test_pieces_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ImportError, match=r"pip install polymodal\[hub\]"):
        Pieces().fit(FILMS, TINY)


@over(
    "cells, low, high",
    [
        ([f"what a fine film number {i} was" for i in range(50)], 0.9, 1.0),
        (["what shape is in the image?", "is there a red circle?"] * 50, 0.55, 0.7),
        (["red", "blue"] * 50, 0.0, 0.15),
        ([f"id{i}" for i in range(50)], 0.0, 0.35),
        (["3.5", "4", "12"] * 5, 0.0, 0.0),
        (["2024-01-05 10:00:00", "2024-02-05 11:30:00"], 0.0, 0.0),
        (["[0.1, 0.2, 0.3]", "[1, 2, 3]"], 0.0, 0.0),
        ([1, 2, 3], 0.0, 0.0),
    ],
)
def test_accepts(cells: list[Any], low: float, high: float) -> None:
    assert low <= Words.accepts(cells).confidence <= high


def test_the_reason_is_for_a_person() -> None:
    assert Words.accepts(["a b c d", "e f g h"]).reason == "4.0 words a cell, 100% of them distinct"


def test_bag_is_the_rows_of_the_table() -> None:
    bag = TextBag(5, 4).eval()
    y = bag(Masked(torch.tensor([[3, 1, 4]]), torch.tensor([[True, False, True]])))
    table = bag.embedding.table.weight
    assert torch.equal(y.values[0], torch.stack([table[3], torch.zeros(4), table[4]]))


def test_convolution_is_a_sum_over_three_neighbours() -> None:
    conv = TextConv(5, 4, layers=1).eval().double()
    ids = torch.tensor([[3, 1, 4, 2]])
    mask = torch.tensor([[True, True, False, True]])
    x = conv.embedding.table.weight[ids[0]]
    h = conv.norms[0](x).relu()
    w = conv.convs[0].weight
    for t in (0, 1, 3):
        near = [k for k in (t - 1, t, t + 1) if 0 <= k < 4 and mask[0, k]]
        expected = x[t] + conv.convs[0].bias + sum(w[:, :, k - t + 1] @ h[k] for k in near)
        torch.testing.assert_close(conv(Masked(ids, mask)).values[0, t], expected)


def test_gru_is_torchs_over_the_real_tokens_in_both_directions() -> None:
    torch.manual_seed(0)
    ours = TextGRU(9, 7).eval()
    theirs = [torch.nn.GRU(7, h, batch_first=True) for h in (4, 3)]
    for mine, one in zip((ours.ahead, ours.back), theirs, strict=True):
        one.load_state_dict(dict(zip(one.state_dict(), mine.weights, strict=True)))
    ids, mask = torch.randint(9, (6, 8)), torch.rand(6, 8) > 0.4
    y = ours(Masked(ids, mask))
    for i in range(6):
        x = ours.embedding.table.weight[ids[i, mask[i]]][None]
        expected = torch.cat([theirs[0](x)[0], theirs[1](x.flip(1))[0].flip(1)], dim=-1)[0]
        torch.testing.assert_close(y.values[i, mask[i]], expected)
