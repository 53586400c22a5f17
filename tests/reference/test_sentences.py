"""Every score of a text equals its definition in slow loops, sacrebleu's, or both; a weight is that many rows."""

import itertools
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import sacrebleu
from numpy.typing import NDArray

from cases import over
from polymodal import sentences
from polymodal.errors import InputError
from polymodal.sentences import Cider, cider, cider_d, fingerprint, scores, words
from polymodal.sentences.edits import BitSequence
from polymodal.sentences.meteor import FUNCTION_WORDS, align, stems_of
from polymodal.sentences.words import character_text

KEYS = (
    "cider_d bleu_1 bleu_2 bleu_3 bleu_4 meteor_exact_stem rouge_l chrf wer cer exact_match distinct_1 distinct_2 "
    "vocabulary novelty length"
).split()
OF_DISTINCT_ROWS = {"cider_d", "distinct_1", "distinct_2", "vocabulary", "novelty"}
WORDS = "a the dog dogs cat runs running ran over under green hill hills and its".split()
Corpus = tuple[list[str], list[list[str]]]


def corpus(rows: int = 24, seed: int = 0, longest: int = 9) -> Corpus:
    """Texts of few words, so that much is shared; candidates are references with words drawn anew."""
    g = np.random.default_rng(seed)
    candidates, references = [], []
    for _ in range(rows):
        of = [list(g.choice(WORDS, g.integers(3, longest))) for _ in range(g.integers(1, 4))]
        text = list(of[0])
        for i in range(len(text)):
            if g.random() < 0.35:
                text[i] = str(g.choice(WORDS))
        candidates.append(" ".join(text[: g.integers(2, longest)]))
        references.append([" ".join(r) for r in of])
    candidates[3] = references[3][-1]  # a perfect row
    return candidates, references


def counts(rows: int, seed: int = 1) -> NDArray[np.float64]:
    g = np.random.default_rng(seed)
    return np.stack([np.ones(rows), *(np.bincount(g.integers(0, rows, rows), minlength=rows) for _ in range(3))])


def repeated(x: Corpus, weight: NDArray[np.floating]) -> Corpus:
    index = [i for i, w in enumerate(weight) for _ in range(int(w))]
    return [x[0][i] for i in index], [x[1][i] for i in index]


def grams(text: str, n: int) -> Counter[tuple[str, ...]]:
    w = text.split()
    return Counter(tuple(w[i : i + n]) for i in range(len(w) - n + 1))


def one(x: Corpus, **more: object) -> dict[str, float]:
    got = scores(*x, np.ones((1, len(x[0]))), **more)  # type: ignore[arg-type]
    return {k: float(v[0]) for k, v in got.items()}


# words


@over("seed", range(5))
def test_words_of_ascii_are_the_matches_of_an_expression(seed: int) -> None:
    g = np.random.default_rng(seed)
    text = "".join(chr(c) for c in g.integers(0, 128, 400))
    assert words(text) == re.findall("[a-z0-9']+", text.lower())
    # the same characters beside one of another script take the other way through the code
    assert words(text + " é") == [*words(text), "é"]


@over(
    "text, want",
    [
        ("नमस्ते, दुनिया!", ["नमस्ते", "दुनिया"]),  # marks belong to their word
        ("क्‍ष می‌خواهم", ["क्‍ष", "می‌خواهم"]),  # and so do joiners inside it
        ("สวัสดี ชาวโลก", ["สวัสดี", "ชาวโลก"]),
        ("我有2只dogs。", ["我", "有", "2", "只", "dogs"]),
        ("コーヒー、です", ["コ", "ー", "ヒ", "ー", "で", "す"]),
        ("안녕 세계", ["안녕", "세계"]),
        ("Don’t ÉTÉ_straße", ["don't", "été", "straße"]),
        ("I ❤️ 🐶🐱!", ["i", "❤", "🐶", "🐱"]),
        ("Привет — мир", ["привет", "мир"]),
        ("\u0301 x \ud800", ["x"]),  # a mark of nothing, half a character
        ("", []),
    ],
)
def test_words_of_any_script(text: str, want: list[str]) -> None:
    assert words(text) == want
    assert words(unicodedata.normalize("NFD", text)) == want
    assert words(" ".join(want)) == want


def test_key_is_of_the_words_alone() -> None:
    assert fingerprint("A Dog, runs.") == fingerprint("a dog runs") != fingerprint("a dog run")
    assert (
        all(0 <= fingerprint(str(i)) < 2**63 for i in range(50))
        and len({fingerprint(str(i)) for i in range(500)}) == 500
    )


# BLEU


def slow_bleu(x: Corpus) -> list[float]:
    length = reference = 0
    right, total = [0] * 4, [0] * 4
    for c, of in zip(*x, strict=True):
        n = len(c.split())
        length += n
        reference += min((abs(len(r.split()) - n), len(r.split())) for r in of)[1]
        for k in range(4):
            for gram, count in grams(c, k + 1).items():
                right[k] += min(count, max(grams(r, k + 1)[gram] for r in of))
                total[k] += count
    out, product = [], 1.0
    for k in range(4):
        product *= (right[k] + 1e-15) / (total[k] + 1e-9)
        out.append(product ** (1 / (k + 1)) * min(1.0, math.exp(1 - (reference + 1e-9) / (length + 1e-15))))
    return out


@over("seed", range(3))
@over("longest", [4, 9])
def test_bleu_is_its_definition(seed: int, longest: int) -> None:
    x = corpus(seed=seed, longest=longest)
    w = counts(len(x[0]), seed)
    got = scores(*x, w)
    for r, weight in enumerate(w):
        np.testing.assert_allclose(
            [got[f"bleu_{n}"][r] for n in range(1, 5)], slow_bleu(repeated(x, weight)), rtol=1e-6
        )


@over("seed", range(3))
def test_bleu_equals_sacrebleu(seed: int) -> None:
    candidates, references = corpus(60, seed)
    references = [(r * 3)[:3] for r in references]
    want = sacrebleu.corpus_bleu(
        candidates, [list(r) for r in zip(*references, strict=True)], tokenize="none", force=True, smooth_method="none"
    )
    assert min(want.counts) > 0
    assert one((candidates, references))["bleu_4"] == pytest.approx(want.score / 100, rel=1e-7)


def test_bleu_takes_the_shorter_of_two_references_that_are_as_near() -> None:
    got = one((["a dog ran up"], [["a dog ran up the hill", "a dog"]]))
    assert got["bleu_1"] == pytest.approx(1.0)  # 2 words is no longer than 4: no penalty


# CIDEr-D


def slow_cider(x: Corpus, documents: Sequence[Sequence[str]]) -> list[float]:
    df = Counter(g for of in documents for g in {g for r in of for n in range(1, 5) for g in grams(r, n)})
    log_n = math.log(len(documents))

    def vector(text: str, n: int) -> dict[tuple[str, ...], float]:
        return {g: c * (log_n - math.log(max(1, df[g]))) for g, c in grams(text, n).items()}

    out = []
    for c, of in zip(*x, strict=True):
        total = 0.0
        for r in of:
            apart = max(len(c.split()) - 1, 0) - max(len(r.split()) - 1, 0)
            for n in range(1, 5):
                a, b = vector(c, n), vector(r, n)
                size = math.sqrt(sum(v * v for v in a.values())) * math.sqrt(sum(v * v for v in b.values()))
                dot = sum(min(v, b[g]) * b[g] for g, v in a.items() if g in b)
                total += math.exp(-(apart**2) / 72) * (dot / size if size else 0.0) / 4
        out.append(10 * total / len(of))
    return out


@over("seed", range(3))
def test_cider_is_its_definition_whatever_the_weights(seed: int) -> None:
    x = corpus(seed=seed)
    want = slow_cider(x, x[1])
    np.testing.assert_allclose(cider_d(*x), want, atol=1e-12)
    w = counts(len(want))
    np.testing.assert_allclose(scores(*x, w)["cider_d"], w @ want / w.sum(1))


def test_a_reward_knows_the_documents_of_its_own_corpus() -> None:
    training, x = corpus(40, 5), corpus(12, 6)
    x[0][0], x[1][1] = "a unicorn runs over a unicorn", [*x[1][1], "unicorn the hill unicorn"]
    np.testing.assert_allclose(Cider(training[1]).reward(*x), slow_cider(x, training[1]), atol=1e-12)
    assert Cider([]).reward(*x) == pytest.approx(np.zeros(12))


def test_a_reward_counts_the_texts_that_it_is_given_and_not_the_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    training = corpus(200, 7, longest=16)
    reward, read = Cider(training[1]), list[str]()
    monkeypatch.setattr(cider, "words", lambda text: read.append(text) or words(text))
    texts, of = training[0][:4], training[1][:4]
    reward.reward(texts, of)
    assert read == [*texts, *itertools.chain(*of)]


def test_cider_of_one_picture_is_finite() -> None:
    assert cider_d(["a dog"], [["a dog", "a cat"]])[0] == 0.0


# METEOR


def best_alignment(c: list[str], r: list[str]) -> tuple[float, int]:
    """The most matches (a stem is a half) and then the fewest chunks, over all one-to-one alignments."""
    stems = stems_of({*c, *r})
    best = (0.0, 0)
    for places in itertools.product(*([*(i for i, w in enumerate(c) if stems[w] == stems[v]), None] for v in r)):
        used = [i for i in places if i is not None]
        if len(set(used)) == len(used):
            worth = sum(1 if c[i] == v else 0.5 for i, v in zip(places, r, strict=True) if i is not None)
            best = max(best, (worth, -chunks([(j, i) for j, i in enumerate(places) if i is not None])))
    return best[0], -best[1]


def chunks(matches: list[tuple[int, int]]) -> int:
    return sum(k == 0 or (j - 1, i - 1) != matches[k - 1] for k, (j, i) in enumerate(matches))


@over("seed", range(4))
def test_alignments_have_most_matches_and_then_fewest_chunks(seed: int) -> None:
    g = np.random.default_rng(seed)
    for _ in range(40):
        c, r = (list(g.choice(["a", "b", "dog", "dogs", "run", "runs"], g.integers(1, 7))) for _ in range(2))
        found = align(c, r, stems_of({*c, *r}))
        worth = sum(1 if m.equal else 0.5 for m in found)
        assert (worth, chunks([(m.reference, m.candidate) for m in found])) == best_alignment(c, r)
        assert all(m.equal == (c[m.candidate] == r[m.reference]) for m in found)


def slow_meteor(x: Corpus) -> float:
    """METEOR 1.5 from the alignments: the best reference of each row, then one score of the sums."""

    def weight(text: Sequence[str]) -> float:
        return sum(0.25 if w in FUNCTION_WORDS else 0.75 for w in text)

    def score(s: NDArray[np.float64]) -> float:
        p, r = s[0] / s[2], s[1] / s[3]
        return 0.0 if p * r == 0 else 1 / (0.85 / r + 0.15 / p) * (1 - 0.6 * (s[4] / s[5]) ** 0.2)

    total = np.zeros(6)
    for c, of in zip(*x, strict=True):
        parts = []
        for a, b in ((c.split(), r.split()) for r in of):
            found = align(a, b, stems_of({*a, *b}))
            n = chunks([(m.reference, m.candidate) for m in found])
            mine = sum((1 if m.equal else 0.6) * weight([a[m.candidate]]) for m in found)
            theirs = sum((1 if m.equal else 0.6) * weight([b[m.reference]]) for m in found)
            whole = n == 1 and len(found) == len(a) == len(b)
            parts.append(np.array([mine, theirs, weight(a), weight(b), 0 if whole else n, len(found)]))
        total += max(parts, key=score)
    return score(total)


@over("seed", range(3))
def test_meteor_is_its_formula(seed: int) -> None:
    x = corpus(seed=seed)
    w = counts(len(x[0]), seed)
    np.testing.assert_allclose(scores(*x, w)["meteor_exact_stem"], [slow_meteor(repeated(x, v)) for v in w], rtol=1e-9)


def test_meteor_by_hand() -> None:
    assert one((["a dog runs", "the cat"], [["a dog runs"], ["a hill", "the cat"]]))[
        "meteor_exact_stem"
    ] == pytest.approx(1.0)
    # "dog" is equal (0.75), "runs" has the stem of "running" (0.6 * 0.75), "the" isn't "a"; one chunk of two words
    p = (0.75 + 0.45) / 1.75
    assert one((["the dog runs"], [["a dog running"]]))["meteor_exact_stem"] == pytest.approx(p * (1 - 0.6 * 0.5**0.2))
    # of words that are not Latin there are no stems
    assert one((["собака"], [["собаки"]]))["meteor_exact_stem"] == 0.0
    assert one((["perros"], [["perro"]]))["meteor_exact_stem"] == pytest.approx(
        0.6
    )  # a whole row in one chunk isn't fragmented


def test_a_text_that_repeats_itself_is_aligned() -> None:
    c, r = ["the", "dog", "the", "cat"] * 15, ["a", "dog", "the", "cat"] * 15
    found = align(c, r, stems_of({*c, *r}))
    assert len(found) == 45 and len({m.candidate for m in found}) == 45
    assert chunks([(m.reference, m.candidate) for m in found]) == 15
    moved = align(c, ["hill"] * 7 + c, stems_of({*c, "hill"}))
    assert len(moved) == 60 and chunks([(m.reference, m.candidate) for m in moved]) == 1


# errors and ROUGE-L


def slow_distance(a: Sequence[str], b: Sequence[str]) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a):
        new = [i + 1]
        for j, y in enumerate(b):
            new.append(min(row[j + 1] + 1, new[j] + 1, row[j] + (x != y)))
        row = new
    return row[-1]


def slow_common(a: Sequence[str], b: Sequence[str]) -> int:
    row = [0] * (len(b) + 1)
    for x in a:
        new = [0]
        for j, y in enumerate(b):
            new.append(row[j] + 1 if x == y else max(row[j + 1], new[j]))
        row = new
    return row[-1]


def test_distances_and_common_subsequences_are_those_of_the_table() -> None:
    g = np.random.default_rng(0)
    for _ in range(600):
        a, b = ("".join(g.choice(list("abc"), g.integers(0, 14))) for _ in range(2))
        assert BitSequence(a).edit_distance(b) == slow_distance(a, b), (a, b)
        assert BitSequence(a).common_subsequence(b) == slow_common(a, b), (a, b)
    a, b = ("".join(g.choice(list("abcdefgh"), 150)) for _ in range(2))
    assert BitSequence(a).edit_distance(b) == slow_distance(a, b) and BitSequence(a).common_subsequence(
        b
    ) == slow_common(a, b)


@over("seed", range(2))
def test_error_rates_are_errors_over_length_against_the_nearest_reference(seed: int) -> None:
    x = corpus(seed=seed)
    w = counts(len(x[0]), seed)
    got = scores(*x, w)
    for name, split in (("wer", str.split), ("cer", list)):
        rows = []
        for c, of in zip(*x, strict=True):
            rows.append(min((slow_distance(split(c), split(r)), -len(split(r))) for r in of))  # type: ignore[operator]
        wrong, length = np.array(rows).T
        np.testing.assert_allclose(got[name], w @ wrong / (w @ -length))


def test_characters_are_counted_with_the_spaces_that_are_written() -> None:
    assert character_text("  A dog,runs!\n") == "a dog runs" and character_text("我有2只。") == "我有2只"
    assert one((["adog"], [["a dog"]]))["cer"] == pytest.approx(1 / 5)
    assert one((["我有二只"], [["我有2只"]]))["cer"] == pytest.approx(1 / 4)
    assert one((["สวัสดี"], [["สวัสดิ"]]))["cer"] == pytest.approx(1 / 6)


def test_rouge_l_is_its_definition() -> None:
    x = corpus(seed=2)
    rows = []
    for c, of in zip(*x, strict=True):
        p = max(slow_common(c.split(), r.split()) / len(c.split()) for r in of)
        q = max(slow_common(c.split(), r.split()) / len(r.split()) for r in of)
        rows.append(2.44 * p * q / (q + 1.44 * p) if p and q else 0.0)
    w = counts(len(rows))
    np.testing.assert_allclose(scores(*x, w)["rouge_l"], w @ rows / w.sum(1))


# chrF


def test_chrf_equals_sacrebleu() -> None:
    candidates, references = corpus(seed=3)
    candidates += ["Straße, 日本語!", "dog", "ab", "", "The  DOG runs. "]
    references += [["Strasse 日本", "日本語"], ["do", "d"], ["ab"], ["dog"], ["the dog runs.", "The DOG ran"]]
    w = counts(len(candidates))
    got = scores(candidates, references, w)["chrf"]
    for r, weight in enumerate(w):
        texts, of = repeated((candidates, references), weight)
        columns = [[o[k] if k < len(o) else None for o in of] for k in range(3)]
        assert got[r] == pytest.approx(sacrebleu.corpus_chrf(texts, columns).score / 100, abs=1e-12)  # type: ignore[arg-type]
    for c, of in zip(candidates, references, strict=True):
        assert one(([c], [of]))["chrf"] == pytest.approx(sacrebleu.sentence_chrf(c, of).score / 100, abs=1e-12)


# what texts are made of


def test_variety_is_of_the_texts_that_are_drawn() -> None:
    x = corpus(seed=4)
    seen = {fingerprint(x[0][0]), fingerprint(x[0][5]), fingerprint("unwritten")}
    w = counts(len(x[0]))
    got = scores(*x, w, training=seen)
    for r, weight in enumerate(w):
        texts = [c for c, v in zip(x[0], weight, strict=True) if v]
        for n in (1, 2):
            found = [g for c in texts for g in grams(c, n).elements()]
            assert got[f"distinct_{n}"][r] == pytest.approx(len(set(found)) / len(found))
        assert got["vocabulary"][r] == len({v for c in texts for v in c.split()})
        drawn = repeated(x, weight)[0]
        assert got["novelty"][r] == pytest.approx(np.mean([fingerprint(c) not in seen for c in drawn]))
        assert got["length"][r] == pytest.approx(np.mean([len(c.split()) for c in drawn]))
    assert math.isnan(one(x)["novelty"]) and one(x, training=[fingerprint(x[0][0])])["novelty"] < 1
    assert (
        one(x, training=np.array([fingerprint(x[0][0])]))["novelty"]
        == one(x, training=[fingerprint(x[0][0])])["novelty"]
    )


def test_exact_match_is_of_words_or_else_of_what_is_there() -> None:
    x = (["A dog.", "a cat", "!?", "--"], [["the dog", "a  dog"], ["a cats"], ["!? "], ["!"]])
    assert one(x)["exact_match"] == 0.5


# weights, edges, errors


@over("seed", range(2))
def test_a_weight_is_that_many_rows(seed: int) -> None:
    x = corpus(seed=seed)
    w = counts(len(x[0]), seed)
    got = scores(*x, w)
    for r, weight in enumerate(w):
        want = one(repeated(x, weight))
        for name in set(KEYS) - OF_DISTINCT_ROWS:
            assert got[name][r] == pytest.approx(want[name], rel=1e-9), name


def test_names_in_order_and_bounds_of_scores() -> None:
    x = corpus(seed=8)
    got = scores(*x, counts(len(x[0])), training={1})
    assert list(got) == KEYS
    assert all(v.shape == (4,) and np.isfinite(v).all() and (v >= 0).all() for v in got.values())
    assert all((got[k] <= 1).all() for k in set(KEYS) - {"cider_d", "wer", "cer", "vocabulary", "length"})
    same = one(([r[0] for r in x[1]], x[1]), training={1})
    for k in ("bleu_4", "meteor_exact_stem", "rouge_l", "chrf", "exact_match"):
        assert same[k] == pytest.approx(1.0, abs=1e-6), k
    assert same["wer"] == same["cer"] == 0.0 and 0 < same["cider_d"] <= 10


def test_rows_without_references_are_no_part_of_the_sample() -> None:
    x = corpus(seed=9)
    more = ([*x[0], "a dog without a reference", ""], [*x[1], [], []])
    w = counts(len(more[0]))
    got, want = scores(*more, w), scores(*x, w[:, :-2])
    for k in KEYS:
        np.testing.assert_allclose(got[k], want[k], err_msg=k)


@over(
    "x",
    [
        (["", "a dog"], [["a dog"], [""]]),
        (["", ""], [[""], ["", ""]]),
        (["!", "🐶"], [["?"], ["🐶"]]),
        (["a"], [[]]),
        ([], []),
    ],
)
def test_empty_texts_never_crash(x: Corpus) -> None:
    w = np.ones((2, len(x[0])))
    with np.errstate(all="raise", under="ignore"):
        got = scores(*x, w, training=[5])
    for k in KEYS:
        assert got[k].shape == (2,) and not np.isinf(got[k]).any()
    if not any(x[1]):
        assert all(np.isnan(v).all() for v in got.values())
    else:
        assert not any(np.isnan(got[k]).any() for k in set(KEYS) - {"wer", "cer", "distinct_1", "distinct_2"})
    assert Cider(x[1]).reward(*x).shape == cider_d(*x).shape == (len(x[0]),)


def test_a_weighting_without_rows_leaves_scores_undefined() -> None:
    x = corpus()
    got = scores(*x, np.stack([np.zeros(len(x[0])), np.ones(len(x[0]))]), training={1})
    assert all(np.isnan(v[0]) and np.isfinite(v[1]) for v in got.values())
    assert all(len(v) == 0 for v in scores(*x, np.zeros((0, len(x[0])))).values())


def test_texts_are_counted_once_and_few_are_kept() -> None:
    sentences.statistics.cache_clear()
    x = corpus()
    for _ in range(3):
        scores([*x[0]], [[*r] for r in x[1]], counts(len(x[0])))  # equal texts in other lists
    assert sentences.statistics.cache_info()[:2] == (2, 1)
    for seed in range(9):
        one(corpus(4, seed))
    assert sentences.statistics.cache_info().currsize == sentences.CACHE < 9


def test_what_can_not_be_scored_is_told() -> None:
    with pytest.raises(InputError, match="2 texts can't be scored against the references of 1 rows; give each text"):
        scores(["a", "b"], [["a"]], np.ones((1, 2)))
    with pytest.raises(InputError, match=r"weights have the shape \(1, 3\), and there are 1 texts"):
        scores(["a"], [["a"]], np.ones((1, 3)))
    with pytest.raises(InputError, match="references of one row are a list of texts, but one text came: 'a dog'"):
        scores(["a"], ["a dog"], np.ones((1, 1)))
    with pytest.raises(InputError, match="candidates are a list"):
        scores("a", [["a"]], np.ones((1, 1)))
