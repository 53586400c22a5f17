"""Word embeddings, averaged over a text: trained here (skip-gram), or read from a file of word vectors.

    "A quiet film." --words--> one vector a known word --weighted mean, common direction removed--> (dim,)

Axes: v word of the vocabulary, d width, n text.
"""

import gzip
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any, ClassVar, Self, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from polymodal.errors import InputError
from polymodal.modalities.extractor import Record
from polymodal.modalities.text.features import Texts, texts, words

RARE = 1e-3  # a of SIF: words rarer than this share count almost fully
WEIGHTINGS = ("sif", "mean")


class Averaged(Texts):
    """What embeddings of text share: each known word's vector, and how a text is made of them.

    mean: the mean of the vectors of a text's known words.

    sif: x = mean of a / (a + p(w)) * vector(w) over them, a = RARE, p(w) the share of the word among the words of the
    training texts; then x - u (u . x), where u is the first right singular vector of the x of all training texts.
    Smooth inverse frequency; Arora, Liang & Ma 2017.

    A text without a known word is all 0.
    """

    weighting: str
    vocabulary_: list[str]
    table_: NDArray[np.float32]  # (V, D)
    weight_: NDArray[np.float32]  # (V,)
    common_: NDArray[np.float32]  # (D,), 0 where nothing is removed
    prefix: ClassVar[str]

    def vectors(self, records: Sequence[Record | None]) -> NDArray[np.float32]:
        """(N, dim); NaN in rows without a text."""
        check_is_fitted(self, "common_")
        x_nd = self._averages(records)
        x_nd -= (x_nd @ self.common_)[:, None] * self.common_
        x_nd[[r is None for r in records]] = np.nan
        return x_nd

    def names(self) -> list[str]:
        """skipgram_0, skipgram_1 ..."""
        check_is_fitted(self, "table_")
        return [f"{self.prefix}_{i}" for i in range(self.table_.shape[1])]

    def _settle(self, table: dict[str, NDArray[np.float32]], dim: int, records: Sequence[Record | None]) -> None:
        """Keep the vectors, and learn weights and the common direction from training texts."""
        self.vocabulary_ = list(table)
        self.table_ = np.array(list(table.values()), dtype=np.float32).reshape(len(table), dim)
        self.common_, self.weight_ = np.zeros(dim, np.float32), np.ones(len(table), np.float32)
        if self.weighting == "sif":
            count = Counter(w for t in texts(records) for w in words(t))
            p_v = np.array([count[w] for w in table]) / max(1, count.total())
            self.weight_ = (RARE / (RARE + p_v)).astype(np.float32)
            self.common_ = first_direction(self._averages([r for r in records if r is not None]))

    def _averages(self, records: Sequence[Record | None]) -> NDArray[np.float32]:
        """Weighted means (N, D), before the common direction is removed; 0 where no word is known."""
        index = {w: i for i, w in enumerate(self.vocabulary_)}
        x_nd = np.zeros((len(records), self.table_.shape[1]), dtype=np.float32)
        for row, text in zip(x_nd, texts(records), strict=True):
            ids = [index[w] for w in words(text) if w in index]
            if ids:
                row[:] = self.weight_[ids] @ self.table_[ids] / len(ids)
        return x_nd


def first_direction(x_nd: NDArray[np.float32]) -> NDArray[np.float32]:
    """The unit vector u (D,) for which the sum of (u . x)^2 over the rows is largest; 0 where every row is 0."""
    if not x_nd.any():
        return np.zeros(x_nd.shape[1], np.float32)
    x_nd = x_nd.astype(np.float64)
    u_d = np.linalg.eigh(x_nd.T @ x_nd)[1][:, -1]
    return cast(NDArray[np.float32], (u_d * np.sign(u_d[np.abs(u_d).argmax()])).astype(np.float32))


def check(weighting: str) -> None:
    """Raise an InputError for a weighting that is not known."""
    if weighting not in WEIGHTINGS:
        raise InputError(f"weighting is {weighting!r}: expected one of {', '.join(map(repr, WEIGHTINGS))}")


class SkipGram(Averaged):
    """Embeddings trained on the training texts, averaged: (N, dim).

    For each word c and each word o at most `window` words away, maximise ln s(u_o . v_c) + the sum over `negative`
    random words r of ln s(-u_r . v_c), s the logistic function; v are the embeddings. Very frequent words
    are passed over at random, more often the more frequent they are. Mikolov et al. 2013. Only words that come at
    least `min_count` times have a vector. The same seed gives the same vectors.
    """

    prefix: ClassVar[str] = "skipgram"

    def __init__(
        self,
        dim: int = 64,
        window: int = 5,
        epochs: int = 20,
        negative: int = 5,
        min_count: int = 2,
        weighting: str = "sif",
        seed: int = 0,
    ) -> None:
        self.dim, self.window, self.epochs, self.negative = dim, window, epochs, negative
        self.min_count, self.weighting, self.seed = min_count, weighting, seed

    def learn(self, records: Sequence[Record | None]) -> Self:
        """Train the embeddings, then learn weights and the common direction."""
        check(self.weighting)
        sentences = [words(t) for t in texts(records) if t]
        count = Counter(w for s in sentences for w in s)
        table = self._train(sentences) if any(n >= self.min_count for n in count.values()) else {}
        self._settle(table, self.dim, records)
        return self

    def _train(self, sentences: list[list[str]]) -> dict[str, NDArray[np.float32]]:
        try:
            from gensim.models import Word2Vec  # type: ignore[import-untyped]
        except ImportError as e:
            raise ImportError("SkipGram needs gensim: pip install polymodal[features]") from e
        model = Word2Vec(
            sentences,
            sg=1,
            vector_size=self.dim,
            window=self.window,
            epochs=self.epochs,
            negative=self.negative,
            min_count=self.min_count,
            seed=self.seed,
            workers=1,  # with more, the order of updates is left to chance
        )
        return {w: model.wv[w] for w in model.wv.index_to_key}


class WordVectors(Averaged):
    """Embeddings read from a text file, averaged: (N, D).

    `path` is a file as word2vec (a first line "words width") and GloVe (none) write it, gzip or not: a line is a word
    and D numbers, parted by spaces. Kept are the words of the training texts, and the first `common` words of the
    file, which its makers sort by frequency: so texts to come are read too, and a file of gigabytes needs little
    memory. Of a word that the file has in several spellings, the lower-case one counts, else the first.

    Up to `tolerate` broken lines are left out, with one warning; one more is an InputError that names its line.
    """

    prefix: ClassVar[str] = "wordvector"

    def __init__(self, path: str = "", weighting: str = "sif", common: int = 20_000, tolerate: int = 0) -> None:
        self.path, self.weighting, self.common, self.tolerate = path, weighting, common, tolerate

    def learn(self, records: Sequence[Record | None]) -> Self:
        """Read the file, then learn weights and the common direction."""
        check(self.weighting)
        vocabulary = {w for t in texts(records) for w in words(t)}
        table, dim = read_vectors(self.path, vocabulary, self.common, self.tolerate)
        if vocabulary and not vocabulary & {name.lower() for name in table}:
            raise InputError(
                f"none of the {len(vocabulary):,} distinct words of the column stands in {self.path}; it says nothing "
                "of them; give vectors of the texts' language"
            )
        self._settle(table, dim, records)
        return self


def read_vectors(
    path: str, vocabulary: set[str], common: int, tolerate: int = 0
) -> tuple[dict[str, NDArray[np.float32]], int]:
    """Vectors of the wanted words and of the first `common` words of a file, and their width; see `WordVectors`."""
    exact: dict[str, NDArray[np.float32]] = {}
    other: dict[str, NDArray[np.float32]] = {}
    dim, bad, first = width_of(path), 0, ""
    for number, line in lines_of(path):
        name, numbers = split_line(line, dim)
        lower = name.lower()
        if len(numbers) == dim and lower not in vocabulary and number > common:
            continue
        vector = parse(numbers)
        if len(numbers) == dim and vector is not None and is_word(name):
            (exact if lower == name else other).setdefault(lower, vector)
            continue
        bad += 1
        first = first or complaint(path, number, line, dim)
        if bad > tolerate:
            raise InputError(f"{first}; mend or remove that line (in Python, WordVectors(tolerate=1) leaves it out)")
    if bad:
        warnings.warn(f"WordVectors: {bad} broken lines are left out; the first: {first}", stacklevel=4)
    return {**other, **exact}, dim


def width_of(path: str) -> int:
    """How many numbers follow a word: as the header says, else as most of the first ten lines have."""
    with open_text(path) as file:
        head = header(file.readline())
    if head is not None:
        return head
    counts = Counter(line.count(b" ") for _, line in islice(lines_of(path), 10))
    dim = max(counts, key=lambda n: (counts[n], n), default=0)
    if dim < 1:
        raise InputError(f"{path} holds no word vectors: expected lines of a word and its numbers, parted by spaces")
    return dim


def header(line: bytes) -> int | None:
    """The width in a first line of word2vec, "words width"; None for any other line."""
    fields = line.split()
    return int(fields[1]) if len(fields) == 2 and all(f.isdigit() for f in fields) and int(fields[1]) else None


def lines_of(path: str) -> Iterator[tuple[int, bytes]]:
    """Number, from 1, and content of each line that is neither empty nor the header; fields parted by one space."""
    with open_text(path) as file:
        try:
            for number, raw in enumerate(file, 1):
                line = raw.rstrip().replace(b"\t", b" ")
                if line and not (number == 1 and header(line) is not None):
                    yield number, line
        except (OSError, EOFError, zlib.error) as e:
            raise InputError(f"{path} can't be read to its end: {e}; fetch or unpack it again") from e


def open_text(path: str) -> IO[bytes]:
    """The file, unpacked if it is gzip."""
    if not path:
        raise InputError("WordVectors needs a file of word vectors: WordVectors(path='glove.6B.100d.txt')")
    try:
        with Path(path).open("rb") as file:
            is_gzip = file.read(2) == b"\x1f\x8b"
        return cast(IO[bytes], gzip.open(path)) if is_gzip else Path(path).open("rb")
    except OSError as e:
        raise InputError(f"{path} can't be opened: {e.strerror}; expected a text file of word vectors") from e


def split_line(line: bytes, dim: int) -> tuple[str, list[bytes]]:
    """The word and its `dim` numbers, counted from the end, as a few files have words with spaces inside.

    >>> split_line(b". . 0.1 2", 2)
    ('. .', [b'0.1', b'2'])
    """
    fields = line.rsplit(b" ", dim)
    return fields[0].decode("utf-8", "replace"), fields[1:]


def is_word(name: str) -> bool:
    """Whether it is a word, not a word and numbers too many.

    >>> is_word("3.5"), is_word(". ."), is_word("film 0.25"), is_word("")
    (True, True, False, False)
    """
    rest = name.split(" ")[1:]
    return bool(name) and not (rest and parse([r.encode() for r in rest]) is not None)


def parse(numbers: list[bytes]) -> NDArray[np.float32] | None:
    """Finite numbers, or None."""
    try:
        vector = np.array([float(n) for n in numbers], dtype=np.float32)
    except ValueError:
        return None
    return vector if np.isfinite(vector).all() else None


def complaint(path: str, number: int, line: bytes, dim: int) -> str:
    """What is wrong with a line."""
    word, *rest = line.decode("utf-8", "replace").split(" ")
    if any(b < 9 for b in line):
        return f"{path}, line {number} is not text; expected word vectors as text, not in word2vec's binary format"
    bad: Any = next((r for r in rest if parse([r.encode()]) is None), None)
    what = f"{len(rest)} numbers" if bad is None else f"{len(rest)} fields, of which {bad[:20]!r} is no finite number"
    return f"{path}, line {number}: {word[:40]!r} is followed by {what}; expected {dim} numbers"
