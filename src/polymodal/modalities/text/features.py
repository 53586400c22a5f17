"""Classical features of text: counted words and pieces of words, and figures of style.

    "A quiet film." --read--> its bytes --vectors--> word=quiet 0.41, word=quiet film 0.63 ...

Words are cut as the codecs of `modalities.text` cut them: lower case, each punctuation mark a word of its own.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer
from sklearn.utils.validation import check_is_fitted

from polymodal.modalities.extractor import Extractor, Record, dense
from polymodal.modalities.text.codec import split, truncate

LONGEST = 100_000  # characters that are read of a cell


class Texts(Extractor):
    """What all features of text share: the record of a cell is its text as UTF-8 bytes (n,), uint8."""

    kind: ClassVar[str] = "text"
    costly: ClassVar[bool] = False

    def read(self, cell: Any) -> Record | None:
        """The first LONGEST characters, in Unicode's composed form; None where there is nothing but spaces."""
        text = truncate(cell, LONGEST)
        return np.frombuffer(text.encode(), dtype=np.uint8) if text else None


def texts(records: Sequence[Record | None]) -> list[str]:
    """Records as strings, "" where there is none."""
    return ["" if r is None else np.asarray(r, dtype=np.uint8).tobytes().decode() for r in records]


def words(text: str) -> list[str]:
    """All words and punctuation marks of a text, in lower case.

    >>> words("It IS good!")
    ['it', 'is', 'good', '!']
    """
    return split(text, LONGEST)


# --- counted --------------------------------------------------------------------------------------------


class Counted(Texts):
    """What features of a learned vocabulary share: the n-grams of training texts, and how often each occurs.

    `vocabulary_` is in alphabetical order. It holds the `max_features` n-grams that are the most frequent of those in
    at least `min_df` training texts; more are never learned.
    """

    min_df: int
    max_features: int | None
    vocabulary_: list[str]
    prefix: ClassVar[str]  # of names

    @abstractmethod
    def cutting(self) -> dict[str, Any]:
        """The arguments of scikit-learn's vectorizers that say what is counted."""

    def names(self) -> list[str]:
        """The n-grams themselves: "word=not bad"."""
        check_is_fitted(self, "vocabulary_")
        return [f"{self.prefix}={v}" for v in self.vocabulary_]

    def _choose(self, records: Sequence[Record | None]) -> csr_matrix:
        """Learn the vocabulary; returns the counts of the training texts that are there (n, D)."""
        sample = [t for t in texts(records) if t]
        counter = CountVectorizer(**self.cutting(), dtype=np.float32)
        try:
            counts = counter.fit_transform(sample)
        except ValueError:  # no text, or texts too short for one n-gram
            self.vocabulary_ = []
            return csr_matrix((len(sample), 0), dtype=np.float32)
        self.vocabulary_, counts = most_frequent(counter, counts, self.min_df, self.max_features)
        return counts

    def _count(self, records: Sequence[Record | None]) -> csr_matrix:
        """How often each n-gram of the vocabulary occurs in each text (N, D)."""
        check_is_fitted(self, "vocabulary_")
        if not self.vocabulary_:
            return csr_matrix((len(records), 0), dtype=np.float32)
        counter = CountVectorizer(**self.cutting(), vocabulary=self.vocabulary_, dtype=np.float32)
        return csr_matrix(counter.transform(texts(records)))


def most_frequent(
    counter: CountVectorizer, counts: csr_matrix, min_df: int, limit: int | None
) -> tuple[list[str], csr_matrix]:
    """The n-grams that are kept and their columns; equally frequent ones in alphabetical order.

    scikit-learn has both limits too, but raises an error where none is left.
    """
    total = np.asarray(counts.sum(0)).ravel()
    columns = np.flatnonzero(counts.getnnz(0) >= min_df)
    columns = np.sort(columns[np.argsort(-total[columns], kind="stable")][:limit])
    every = counter.get_feature_names_out()
    return [str(every[c]) for c in columns], counts[:, columns]


class BagOfWords(Counted):
    """How often each known word occurs in a text: (N, D) counts, sparse."""

    prefix: ClassVar[str] = "count"

    def __init__(self, max_features: int | None = 20_000, min_df: int = 2) -> None:
        self.max_features, self.min_df = max_features, min_df

    def cutting(self) -> dict[str, Any]:
        """Single words."""
        return by_words((1, 1))

    def learn(self, records: Sequence[Record | None]) -> Self:
        """Learn the vocabulary."""
        self._choose(records)
        return self

    def vectors(self, records: Sequence[Record | None]) -> csr_matrix:
        """(N, D) counts."""
        return self._count(records)


class Weighted(Counted):
    """What the two kinds of TF-IDF share.

    x[i, j] = (1 + ln count[i, j]) * idf[j], 0 where the count is 0; idf[j] = ln((1 + n) / (1 + df[j])) + 1 over the n
    training texts, df[j] of which hold n-gram j; then each row is divided by its Euclidean length.
    Spärck Jones 1972; Salton & Buckley 1988.
    """

    idf_: NDArray[np.float32]

    def learn(self, records: Sequence[Record | None]) -> Self:
        """Learn the vocabulary and each n-gram's idf."""
        self.idf_ = idf(self._choose(records))
        return self

    def vectors(self, records: Sequence[Record | None]) -> csr_matrix:
        """(N, D), rows of length 1, or 0 where nothing is known."""
        return weigh(self._count(records), self.idf_)


class Tfidf(Weighted):
    """TF-IDF of words and of runs of words, `ngrams` = (shortest, longest); see `Weighted`."""

    prefix: ClassVar[str] = "word"

    def __init__(self, ngrams: Sequence[int] = (1, 2), max_features: int | None = 50_000, min_df: int = 1) -> None:
        self.ngrams, self.max_features, self.min_df = ngrams, max_features, min_df

    def cutting(self) -> dict[str, Any]:
        """Runs of words."""
        return by_words(self.ngrams)


class Characters(Weighted):
    """TF-IDF of runs of characters inside words, a space at both ends of a word; see `Weighted`.

    Shares what inflected and misspelt words have in common.
    """

    prefix: ClassVar[str] = "chars"

    def __init__(self, ngrams: Sequence[int] = (2, 5), max_features: int | None = 50_000, min_df: int = 2) -> None:
        self.ngrams, self.max_features, self.min_df = ngrams, max_features, min_df

    def cutting(self) -> dict[str, Any]:
        """Runs of characters."""
        return {"analyzer": "char_wb", "ngram_range": tuple(self.ngrams)}


class Whole(Texts):
    """A text as a category: one column a text that several training rows hold, (N, D) ones and zeros, sparse.

    Names come again, such as those of a make of car; sentences seldom do, and then there is no column.
    """

    places_: dict[str, int]

    def __init__(self, limit: int = 10_000, longest: int = 200) -> None:
        self.limit, self.longest = limit, longest

    def read(self, cell: Any) -> Record | None:
        """The text in lower case, without outer spaces; None where it is empty, or too long to be a name."""
        text = truncate(cell, self.longest + 1).strip().lower()
        return np.frombuffer(text.encode(), dtype=np.uint8) if text and len(text) <= self.longest else None

    def learn(self, records: Sequence[Record | None]) -> Self:
        """The texts that come again, at most `limit`, the commonest first."""
        counts = Counter(t for t in texts(records) if t)
        names = sorted((-n, t) for t, n in counts.items() if n > 1)[: self.limit]
        self.places_ = {t: i for i, (_, t) in enumerate(names)}
        return self

    def vectors(self, records: Sequence[Record | None]) -> csr_matrix:
        """(N, D)."""
        check_is_fitted(self, "places_")
        at = [self.places_.get(t, -1) for t in texts(records)]
        rows = [i for i, place in enumerate(at) if place >= 0]
        columns = [place for place in at if place >= 0]
        shape = len(at), len(self.places_)
        return csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)

    def fields(self, records: Sequence[Record | None]) -> tuple[NDArray[np.float32], list[int]]:
        """(N, 1) the place of the text; NaN where it is none of those that come again."""
        at = [self.places_.get(t, np.nan) for t in texts(records)]
        return np.asarray(at, dtype=np.float32)[:, None], [0]

    def names(self) -> list[str]:
        """The texts: "text=royal enfield"."""
        return [f"text={t}" for t in self.places_]


class Hashed(Texts):
    """TF-IDF of runs of words without a vocabulary: an n-gram's column is its hash, modulo `size`.

    For vocabularies too large to keep. Signed by another bit of the hash, so that n-grams that share a column cancel
    out in expectation instead of adding up. Weinberger et al. 2009. Weights as in `Weighted`, with
    x[i, j] = count[i, j] * idf[j].
    """

    idf_: NDArray[np.float32]

    def __init__(self, size: int = 2**17, ngrams: Sequence[int] = (1, 2)) -> None:
        self.size, self.ngrams = size, ngrams

    def learn(self, records: Sequence[Record | None]) -> Self:
        """Learn each column's idf."""
        self.idf_ = idf(self._hash([r for r in records if r is not None]))
        return self

    def vectors(self, records: Sequence[Record | None]) -> csr_matrix:
        """(N, size), rows of length 1."""
        check_is_fitted(self, "idf_")
        return weigh(self._hash(records), self.idf_, sublinear=False)

    def names(self) -> list[str]:
        """hash_0, hash_1 ..."""
        return [f"hash_{i}" for i in range(self.size)]

    def _hash(self, records: Sequence[Record | None]) -> csr_matrix:
        if not records:
            return csr_matrix((0, self.size), dtype=np.float32)
        hasher = HashingVectorizer(**by_words(self.ngrams), n_features=self.size, norm=None, dtype=np.float32)
        return csr_matrix(hasher.transform(texts(records)))


def by_words(ngrams: Sequence[int]) -> dict[str, Any]:
    """Arguments of a scikit-learn vectorizer that counts runs of our words."""
    return {"tokenizer": words, "token_pattern": None, "lowercase": False, "ngram_range": tuple(ngrams)}


def idf(counts: csr_matrix) -> NDArray[np.float32]:
    """ln((1 + n) / (1 + df)) + 1 of each column of (n, D)."""
    df = counts.getnnz(0)
    return np.asarray(np.log((1 + counts.shape[0]) / (1 + df)) + 1, dtype=np.float32)


def weigh(counts: csr_matrix, weight: NDArray[np.float32], sublinear: bool = True) -> csr_matrix:
    """TF-IDF of counts (N, D) under given idf (D,); see `Weighted`."""
    if 0 in counts.shape:
        return counts
    transformer = TfidfTransformer(sublinear_tf=sublinear)
    transformer.idf_ = weight
    return csr_matrix(transformer.transform(counts), dtype=np.float32)


# --- style ----------------------------------------------------------------------------------------------

STYLE = [
    "characters",
    "words",
    "mean_word_length_characters",
    "longest_word_characters",
    "sentences",
    "mean_sentence_length_words",
    "type_token_ratio",
    "capital_share_of_letters",
    "digit_share_of_characters",
    "punctuation_share_of_characters",
    "shouted_share_of_words",
    "question_marks",
    "exclamation_marks",
    "quotation_marks",
    "line_breaks",
    "non_ascii_share_of_characters",
]
ENDS, QUOTES = frozenset(".!?…。！？"), frozenset("\"“”„«»'‘’")


class Statistics(Texts):
    """Sixteen figures of a text's length and style (N, 16): see `style`. Nothing is learned."""

    def learn(self, records: Sequence[Record | None]) -> Self:
        """Nothing."""
        return self

    def vectors(self, records: Sequence[Record | None]) -> NDArray[np.float32]:
        """(N, 16); NaN in rows without a text."""
        return dense([style(t) if t else None for t in texts(records)], len(STYLE))

    def names(self) -> list[str]:
        """What each figure is."""
        return list(STYLE)


def style(text: str) -> NDArray[np.float32]:
    """The figures of STYLE; a share of nothing is 0.

    A word here holds a letter or digit. The type-token ratio is distinct words / words, 1 where none comes twice. A
    sentence ends with one or more of .!?… (or their wide forms); what follows the last of those is one too. A shouted
    word has two letters or more, all capitals.
    """
    tokens = [w for w in words(text) if w[0].isalnum() or w[0] == "_"]
    letters = [ch for ch in text if ch.isalpha()]
    marks = sum(not ch.isalnum() and not ch.isspace() for ch in text)
    sentences = count_sentences(text)
    capitals = sum(len(w) > 1 and w.isupper() for w in text.split())
    lengths = [len(w) for w in tokens]
    figures = [
        len(text),
        len(tokens),
        share(sum(lengths), len(tokens)),
        max(lengths, default=0),
        sentences,
        share(len(tokens), sentences),
        share(len(set(tokens)), len(tokens)),
        share(sum(ch.isupper() for ch in letters), len(letters)),
        share(sum(ch.isdigit() for ch in text), len(text)),
        share(marks, len(text)),
        share(capitals, len(tokens)),
        sum(ch in "?？" for ch in text),
        sum(ch in "!！" for ch in text),
        sum(ch in QUOTES for ch in text),
        text.count("\n"),
        share(sum(not ch.isascii() for ch in text), len(text)),
    ]
    return np.array(figures, dtype=np.float32)


def count_sentences(text: str) -> int:
    """How many runs of characters between ends of sentences hold a letter or digit.

    >>> count_sentences("Well... is it? No"), count_sentences("?!")
    (3, 0)
    """
    line = "".join("\n" if ch in ENDS else " " if ch == "\n" else ch for ch in text)
    return sum(any(ch.isalnum() for ch in part) for part in line.split("\n"))


def share(part: float, whole: float) -> float:
    """part / whole, 0 of nothing."""
    return part / whole if whole else 0.0
