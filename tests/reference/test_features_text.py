"""Features of text against their definitions."""

import gzip
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from cases import over
from polymodal.errors import InputError
from polymodal.modalities.text.embeddings import RARE, SkipGram, WordVectors
from polymodal.modalities.text.features import BagOfWords, Characters, Hashed, Statistics, Tfidf, words

TEXTS = ["Not bad, not bad!", "A quiet film", "a bad film", "quiet", "It's a film: not a LOUD one"]


def runs(text: str, ngrams: tuple[int, int]) -> list[str]:
    w = words(text)
    return [" ".join(w[i : i + n]) for n in range(ngrams[0], ngrams[1] + 1) for i in range(len(w) - n + 1)]


def pieces(text: str, ngrams: tuple[int, int]) -> list[str]:
    out = []
    for word in text.lower().split():
        w = f" {word} "
        for n in range(ngrams[0], ngrams[1] + 1):
            out += [w[i : i + n] for i in range(len(w) - n + 1)] or [w]
            if n >= len(w):  # a short word counts once, whole
                break
    return out


def tfidf(
    all_counts: list[Counter[str]], counts: Counter[str], vocabulary: list[str], sublinear: bool = True
) -> np.ndarray:
    n = len(all_counts)
    row = np.zeros(len(vocabulary))
    for j, v in enumerate(vocabulary):
        df = sum(v in c for c in all_counts)
        tf = (1 + math.log(counts[v]) if sublinear else counts[v]) if counts[v] else 0
        row[j] = tf * (math.log((1 + n) / (1 + df)) + 1)
    return row / (math.sqrt((row**2).sum()) or 1)


@over("cut, extractor", [(runs, Tfidf((1, 2))), (pieces, Characters((2, 3), min_df=1))])
def test_tfidf_is_its_formula(cut, extractor) -> None:
    extractor.fit(TEXTS)
    counts = [Counter(cut(t, extractor.ngrams)) for t in TEXTS]
    assert extractor.vocabulary_ == sorted({v for c in counts for v in c})
    new = [*TEXTS, "an unknown, quiet, quiet film", "zzzz"]
    want = [tfidf(counts, Counter(cut(t, extractor.ngrams)), extractor.vocabulary_) for t in new]
    np.testing.assert_allclose(extractor.transform(new).toarray(), want, atol=1e-6)


def test_a_bag_counts_words() -> None:
    bag = BagOfWords(min_df=1).fit(TEXTS)
    x = bag.transform(["Not not a BAD unknown film!!"]).toarray()[0]
    got = {n: int(v) for n, v in zip(bag.names(), x, strict=True) if v}
    assert got == {"count=!": 2, "count=a": 1, "count=bad": 1, "count=film": 1, "count=not": 2}


def test_the_vocabulary_holds_the_most_frequent_of_those_in_enough_texts() -> None:
    texts = ["b b b b b a c", "a c", "a d c", "a d"]  # a in 4, c in 3, d in 2, b in 1 though it is the most frequent
    assert BagOfWords(min_df=2).fit(texts).vocabulary_ == ["a", "c", "d"]
    assert BagOfWords(min_df=2, max_features=2).fit(texts).vocabulary_ == ["a", "c"]
    assert BagOfWords(min_df=1, max_features=2).fit(texts).vocabulary_ == ["a", "b"]
    assert BagOfWords(min_df=9).fit(texts).transform(texts).shape == (4, 0)


def test_without_collisions_hashed_features_are_tfidf_up_to_columns_and_signs() -> None:
    hashed, new = Hashed(2**18).fit(TEXTS), ["a quiet quiet film", "not bad, not bad!"]
    counts = [Counter(runs(t, (1, 2))) for t in TEXTS]
    vocabulary = sorted({v for t in new for v in runs(t, (1, 2))})
    want = np.array([tfidf(counts, Counter(runs(t, (1, 2))), vocabulary, sublinear=False) for t in new])
    x = hashed.transform(new)
    for row, w in zip(x, want, strict=True):
        np.testing.assert_allclose(np.sort(np.abs(row.data)), np.sort(w[w > 0]), atol=1e-6)
    assert math.isclose((x @ x.T).toarray()[0, 1], want[0] @ want[1], abs_tol=1e-6)


def test_the_same_words_are_seen_as_by_the_text_codec() -> None:
    from polymodal.modalities.text.codec import Words
    from polymodal.nn import SIZES

    codec = Words(min_count=1).fit(TEXTS, SIZES["tiny"])
    assert sorted(codec.vocabulary_) == BagOfWords(min_df=1).fit(TEXTS).vocabulary_


@over("cell", ["", " \n", None, float("nan")])
def test_blank_text_is_absent(cell) -> None:
    assert Tfidf().read(cell) is None
    assert np.isnan(Statistics().fit_transform([cell, "a"])[0]).all()


def test_style() -> None:
    text = 'He said: "NO WAY!!" Did 3 cats\nleave? über'
    got = dict(zip(Statistics().names(), Statistics().transform([text])[0], strict=True))
    letters = sum(ch.isalpha() for ch in text)
    lengths = [2, 4, 2, 3, 3, 1, 4, 5, 4]
    want = {
        "characters": len(text),
        "words": 9,
        "mean_word_length_characters": sum(lengths) / 9,
        "longest_word_characters": 5,
        "sentences": 3,
        "mean_sentence_length_words": 3,
        "type_token_ratio": 1,
        "capital_share_of_letters": 7 / letters,
        "digit_share_of_characters": 1 / len(text),
        "punctuation_share_of_characters": 6 / len(text),
        "shouted_share_of_words": 1 / 9 * 2,
        "question_marks": 1,
        "exclamation_marks": 2,
        "quotation_marks": 2,
        "line_breaks": 1,
        "non_ascii_share_of_characters": 1 / len(text),
    }
    assert got == pytest.approx(want, rel=1e-6)
    assert np.isfinite(Statistics().transform(["?!"])).all()


# --- embeddings -----------------------------------------------------------------------------------------

FILE = "the 1 0 0\nquiet 0 2 0\nfilm 0 0 -3\nrare 5 5 5\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "v.txt"
    path.write_text(FILE, encoding="utf-8")
    return path


def test_loaded_vectors_are_the_numbers_of_the_file(file: Path) -> None:
    e = WordVectors(str(file), weighting="mean", common=0).fit(["The quiet film", "quiet unknown"])
    assert e.vocabulary_ == ["the", "quiet", "film"], "only words of training texts are kept"
    x = e.transform(["film", "quiet unknown THE", "unknown", None])
    np.testing.assert_array_equal(x[:3], [[0, 0, -3], [0.5, 1, 0], [0, 0, 0]])
    assert np.isnan(x[3]).all()
    assert e.names() == ["wordvector_0", "wordvector_1", "wordvector_2"]
    assert "rare" in WordVectors(str(file), common=4).fit(["film"]).vocabulary_


@over("how", ["header", "gzip", "tabs", "spaces in a word"])
def test_every_way_of_writing_vectors_is_read(file: Path, how: str) -> None:
    plain = WordVectors(str(file)).fit(TEXTS)
    if how == "header":
        file.write_text(f"4 3\n{FILE}", encoding="utf-8")
    elif how == "gzip":
        file.write_bytes(gzip.compress(FILE.encode()))
    elif how == "tabs":
        file.write_text(FILE.replace(" ", "\t"), encoding="utf-8")
    else:
        file.write_text(f"{FILE}. . 1 2 3\n", encoding="utf-8")
    np.testing.assert_array_equal(WordVectors(str(file)).fit(TEXTS).transform(TEXTS), plain.transform(TEXTS))


def test_sif_is_its_formula(file: Path) -> None:
    texts = ["the the quiet film", "the film", "quiet the rare", "film"]
    table = {w: np.array([float(n) for n in v]) for w, *v in (line.split() for line in FILE.splitlines())}
    count = Counter(w for t in texts for w in t.split())

    def average(t: str) -> np.ndarray:
        known = [w for w in t.split() if w in table]
        return sum((RARE / (RARE + count[w] / count.total()) * table[w] for w in known), np.zeros(3)) / len(known)

    u = np.linalg.svd(np.array([average(t) for t in texts]))[2][0]
    new = [*texts, "quiet quiet rare unknown"]
    want = [average(t) - u * (u @ average(t)) for t in new]
    got = WordVectors(str(file)).fit(texts).transform(new)
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-6)
    assert np.abs(want).max() > 1e-3


BROKEN = {
    "too few": ("film 0.5 1", "line 3: 'film' is followed by 2 numbers; expected 3 numbers"),
    "too many": ("film 1 2 3 4", "line 3: 'film' is followed by 4 numbers; expected 3 numbers"),
    "a word": ("film 1 x 3", "line 3: 'film' is followed by 3 fields, of which 'x' is no finite number; expected 3"),
    "nan": ("film 1 nan 3", "line 3: 'film' is followed by 3 fields, of which 'nan' is no finite number; expected 3"),
    "binary": (
        "film \x00\x01\x02",
        "line 3 is not text; expected word vectors as text, not in word2vec's binary format",
    ),
}


@over("line, says", BROKEN.values())
def test_a_broken_line_is_named(file: Path, line: str, says: str) -> None:
    file.write_text(FILE.replace("film 0 0 -3", line), encoding="utf-8")
    with pytest.raises(InputError) as e:
        WordVectors(str(file)).fit(TEXTS)
    assert f"{file}, {says}" in str(e.value)
    assert "mend or remove that line" in str(e.value)
    with pytest.warns(UserWarning, match="WordVectors: 1 broken lines are left out; the first: "):
        got = WordVectors(str(file), tolerate=1).fit(TEXTS)
    assert got.vocabulary_ == ["the", "quiet", "rare"]


def test_a_broken_first_line_does_not_spoil_the_rest(file: Path) -> None:
    file.write_text(f"broken 1\n{FILE}", encoding="utf-8")
    with pytest.raises(InputError, match="line 1: 'broken' is followed by 1 numbers; expected 3 numbers"):
        WordVectors(str(file)).fit(TEXTS)


def test_files_that_hold_no_vectors(file: Path, tmp_path: Path) -> None:
    cases = {"": "needs a file of word vectors", str(tmp_path / "no.txt"): "no.txt can't be opened: No such file"}
    for path, says in cases.items():
        with pytest.raises(InputError, match=says):
            WordVectors(path).fit(TEXTS)
    file.write_text("\n", encoding="utf-8")
    with pytest.raises(InputError, match="holds no word vectors: expected lines of a word and its numbers"):
        WordVectors(str(file)).fit(TEXTS)
    file.write_bytes(gzip.compress(FILE.encode() * 99)[:-20])
    with pytest.raises(InputError, match="can't be read to its end"):
        WordVectors(str(file)).fit(TEXTS)
    with pytest.raises(InputError, match="weighting is 'tf': expected one of 'sif', 'mean'"):
        SkipGram(weighting="tf").fit(TEXTS)


def test_words_that_share_contexts_end_up_near_each_other() -> None:
    g = np.random.default_rng(0)
    groups = [["cat", "dog", "cow", "hen"], ["one", "two", "six", "ten"]]
    around = [["eats", "barn", "fur", "tail"], ["sum", "plus", "count", "minus"]]
    texts = []
    for _ in range(600):
        k = int(g.integers(2))
        a, b = g.choice(around[k], 2, replace=False)
        texts.append(f"{a} {g.choice(groups[k])} {b}")
    e = SkipGram(dim=16, window=2, epochs=200, weighting="mean").fit(texts)
    x = e.transform(groups[0] + groups[1])
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    near = x @ x.T
    same = np.equal.outer(np.arange(8) // 4, np.arange(8) // 4)
    assert near[same].min() > near[~same].max() + 0.2


def test_what_has_learned_nothing_says_so() -> None:
    for e in (Tfidf(), SkipGram(), Hashed()):
        with pytest.raises(NotFittedError):
            e.transform(["a"])
