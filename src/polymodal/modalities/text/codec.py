"""Text as words, pieces of words or bytes.

    "A quiet film." --Words--> [4, 17, 9, 2]

Axes: b batch, t token.
"""

import os
import re
import unicodedata
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from polymodal.batch import Masked
from polymodal.modalities.base import Codec, Guess, missing, pad
from polymodal.nn import Size

# Chinese, Japanese: no spaces between words, so each such character is a word of its own
CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{CJK}]|[^\W{CJK}]+|[^\w\s]")
UNKNOWN = 0
# A token is rarely longer than this, so cutting here loses no token that `length_` would have kept
CHARACTERS_A_TOKEN = 32


class Text(Codec):
    """What the three ways of cutting a text share: the guess, the bound on work, and the batch.

    fit learns `length_`, how many tokens encode keeps: twice as many as the longest training text has, as a
    new one may be longer; at most `size.tokens`.
    """

    kind: ClassVar[str] = "text"
    length_: int

    @property
    @abstractmethod
    def vocabulary_size(self) -> int:
        """How many ids there are."""

    @classmethod
    def accepts(cls, cells: Sequence[Any]) -> Guess:
        """Strings of several words, or long ones, mostly distinct."""
        texts = [t for c in cells if isinstance(c, str) and (t := truncate(c, 1_000))]
        if not texts or len(texts) < 0.9 * len(cells):
            return Guess(0.0, f"{len(texts)} of {len(cells)} cells are strings")
        count = sum(any(ch.isalpha() for ch in t) and t[0] not in "[{" for t in texts)
        if count < 0.5 * len(texts):
            return Guess(0.0, f"only {count} of {len(texts)} strings are words")
        words = sum(len(WORD.findall(t)) for t in texts) / len(texts)
        distinct = len(set(texts)) / len(texts)
        reason = f"{words:.1f} words a cell, {distinct:.0%} of them distinct"
        if words >= 4 and sum(" " in t or len(WORD.findall(t[:8])) > 4 for t in texts) >= 0.5 * len(texts):
            # a repeated sentence is still better read than counted: its words are shared with other sentences
            return Guess(0.6 + 0.35 * distinct, reason)
        if words >= 1.5 and distinct >= 0.5:
            return Guess(0.5, reason)
        return Guess(0.1 + 0.2 * distinct * (len(texts) >= 10), reason)

    @abstractmethod
    def offsets(self, cell: Any, text: str) -> list[tuple[int, int]] | None:
        """Where in `text`, which may hold more of the cell, each token lies; None where that can't be told."""

    def collate(self, cells: Sequence[Tensor | None]) -> Masked:
        """Ids (B, T) and the mask (B, T)."""
        return pad(cells, torch.zeros(0, dtype=torch.long))


class Words(Text):
    """A text -> ids of its lower-case words and punctuation marks (T,).

    `vocabulary_` holds the `limit` most frequent words of the training texts that occur at least `min_count`
    times; id 0 stands for every other word, i + 1 for `vocabulary_[i]`. A dict of words is five to eighteen
    times as fast as a tokeniser library.
    """

    vocabulary_: list[str]

    def __init__(self, limit: int = 20_000, min_count: int = 2) -> None:
        self.limit, self.min_count = limit, min_count
        self._index: tuple[list[str], dict[str, int]] = ([], {})

    @property
    def vocabulary_size(self) -> int:
        """The known words, and one for the unknown."""
        return len(self.vocabulary_) + 1

    def fit(self, cells: Iterable[Any], size: Size) -> Self:
        """Learn the vocabulary and the length."""
        count: Counter[str] = Counter()
        longest = 1
        for cell in cells:
            words = split(cell, size.tokens)
            longest = max(longest, len(words))
            count.update(words)
        words_ = sorted((-n, w) for w, n in count.items() if n >= self.min_count)[: self.limit]
        self.vocabulary_, self.length_ = [w for _, w in words_], min(2 * longest, size.tokens)
        return self

    def encode(self, cell: Any) -> Tensor | None:
        """Ids (T,) int64, T <= length_; None for an empty text."""
        words = split(cell, self.length_)
        if self._index[0] is not self.vocabulary_:
            self._index = (self.vocabulary_, {w: i + 1 for i, w in enumerate(self.vocabulary_)})
        ids = self._index[1]
        return torch.tensor([ids.get(w, UNKNOWN) for w in words]) if words else None

    def offsets(self, cell: Any, text: str) -> list[tuple[int, int]] | None:
        """The spans of its words; None where the lower case is longer, as of a few letters, so that places shift."""
        read = truncate(cell, CHARACTERS_A_TOKEN * self.length_)
        lower = read.lower()
        return [m.span() for m in WORD.finditer(lower)][: self.length_] if len(lower) == len(read) else None


class Bytes(Text):
    """A text -> its UTF-8 bytes (T,), up to four times `size.tokens`. No vocabulary to learn or to miss."""

    @property
    def vocabulary_size(self) -> int:
        """256."""
        return 256

    def fit(self, cells: Iterable[Any], size: Size) -> Self:
        """Learn the length."""
        self.length_ = 4 * size.tokens
        longest = max((len(x) for c in cells if (x := self.encode(c)) is not None), default=1)
        self.length_ = min(2 * longest, self.length_)
        return self

    def encode(self, cell: Any) -> Tensor | None:
        """Bytes (T,) int64, T <= length_; None for an empty text."""
        text = truncate(cell, self.length_)
        return torch.tensor(list(text.encode()[: self.length_])) if text else None

    def offsets(self, cell: Any, text: str) -> list[tuple[int, int]]:
        """Each byte lies at its character."""
        return [(i, i + 1) for i, c in enumerate(truncate(cell, self.length_)) for _ in c.encode()][: self.length_]


class Pieces(Text):
    """A text -> ids of pieces of words (T,), learned by byte-pair encoding over bytes; nothing is unknown.

    Sennrich et al. 2016; over bytes, Radford et al. 2019. `tokenizer_` is the library's JSON.
    """

    tokenizer_: str

    def __init__(self, limit: int = 8_000) -> None:
        self.limit = limit
        self._loaded: tuple[str, Any] = ("", None)

    @property
    def vocabulary_size(self) -> int:
        """The pieces learned, the 256 bytes among them."""
        return int(self._tokenizer().get_vocab_size())

    def fit(self, cells: Iterable[Any], size: Size) -> Self:
        """Learn the pieces and the length."""
        library = tokenizers()
        texts = [t for c in cells if (t := truncate(c, CHARACTERS_A_TOKEN * size.tokens))]
        learner = library.Tokenizer(library.models.BPE())
        learner.normalizer = library.normalizers.Lowercase()
        learner.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=True)
        alphabet = sorted(library.pre_tokenizers.ByteLevel.alphabet())
        trainer = library.trainers.BpeTrainer(
            vocab_size=self.limit, min_frequency=2, initial_alphabet=alphabet, show_progress=False
        )
        learner.train_from_iterator(texts, trainer)
        self.tokenizer_ = learner.to_str()
        longest = max((len(e.ids) for e in learner.encode_batch(texts)), default=1)
        self.length_ = min(2 * longest, size.tokens)
        return self

    def encode(self, cell: Any) -> Tensor | None:
        """Ids (T,) int64, T <= length_; None for an empty text."""
        text = truncate(cell, CHARACTERS_A_TOKEN * self.length_)
        return torch.tensor(self._tokenizer().encode(text).ids[: self.length_]) if text else None

    def offsets(self, cell: Any, text: str) -> list[tuple[int, int]]:
        """As the tokenizer says."""
        read = self._tokenizer().encode(truncate(cell, CHARACTERS_A_TOKEN * self.length_))
        return [(int(i), int(j)) for i, j in read.offsets][: self.length_]

    def _tokenizer(self) -> Any:
        if self._loaded[0] is not self.tokenizer_:
            self._loaded = (self.tokenizer_, tokenizers().Tokenizer.from_str(self.tokenizer_))
        return self._loaded[1]


def truncate(cell: Any, characters: int) -> str:
    """The first `characters` of a cell as text, in Unicode's composed form (NFC); "" where it holds nothing.

    Cut before anything else, so that ten megabytes in a cell cost no more than a page.
    """
    if missing(cell):
        return ""
    text = cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell)
    # a lone surrogate, which JSON may hold, is no Unicode text
    text = text.lstrip()[:characters].encode("utf-8", "replace").decode()
    return unicodedata.normalize("NFC", text).strip()[:characters]


def split(cell: Any, length: int) -> list[str]:
    """The first `length` words and punctuation marks of a cell, in lower case.

    >>> split("It's 3 o'clock.", 6)
    ['it', "'", 's', '3', 'o', "'"]
    """
    return WORD.findall(truncate(cell, CHARACTERS_A_TOKEN * length).lower())[:length]


def tokenizers() -> Any:
    """The `tokenizers` library."""
    # it warns on standard error when a process that used its threads forks, as DataLoader workers do
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import tokenizers as library
    except ImportError as e:
        raise ImportError("Pieces needs the tokenizers library: pip install polymodal[hub]") from e
    return library
