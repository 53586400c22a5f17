"""Text: words, pieces of words or bytes, and the networks that read them.

    "A quiet film." --Words--> [4, 17, 9, 2] --TextConv--> four tokens (T, dim)

Axes: b batch, t token, d width, c channel.
"""

import os
import re
import unicodedata
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout as dropped

from polymodal.batch import Masked
from polymodal.modalities.base import Codec, Encoder, Guess, pad
from polymodal.modalities.columns import missing
from polymodal.nn import Block, Size, positions
from polymodal.ops import zeroed

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
        texts = [t for c in cells if isinstance(c, str) and (t := cut(c, 1_000))]
        if not texts or len(texts) < 0.9 * len(cells):
            return Guess(0.0, f"{len(texts)} of {len(cells)} cells are strings")
        lettered = sum(any(ch.isalpha() for ch in t) and t[0] not in "[{" for t in texts)
        if lettered < 0.5 * len(texts):
            return Guess(0.0, f"only {lettered} of {len(texts)} strings are words")
        words = sum(len(WORD.findall(t)) for t in texts) / len(texts)
        distinct = len(set(texts)) / len(texts)
        reason = f"{words:.1f} words a cell, {distinct:.0%} of them distinct"
        if words >= 4 and sum(" " in t or len(WORD.findall(t[:8])) > 4 for t in texts) >= 0.5 * len(texts):
            # a repeated sentence is still better read than counted: its words are shared with other sentences
            return Guess(0.6 + 0.35 * distinct, reason)
        if words >= 1.5 and distinct >= 0.5:
            return Guess(0.5, reason)
        return Guess(0.1 + 0.2 * distinct * (len(texts) >= 10), reason)

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
        kept = sorted((-n, w) for w, n in count.items() if n >= self.min_count)[: self.limit]
        self.vocabulary_, self.length_ = [w for _, w in kept], min(2 * longest, size.tokens)
        return self

    def encode(self, cell: Any) -> Tensor | None:
        """Ids (T,) int64, T <= length_; None for an empty text."""
        words = split(cell, self.length_)
        if self._index[0] is not self.vocabulary_:
            self._index = (self.vocabulary_, {w: i + 1 for i, w in enumerate(self.vocabulary_)})
        known = self._index[1]
        return torch.tensor([known.get(w, UNKNOWN) for w in words]) if words else None


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
        text = cut(cell, self.length_)
        return torch.tensor(list(text.encode()[: self.length_])) if text else None


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
        texts = [t for c in cells if (t := cut(c, CHARACTERS_A_TOKEN * size.tokens))]
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
        text = cut(cell, CHARACTERS_A_TOKEN * self.length_)
        return torch.tensor(self._tokenizer().encode(text).ids[: self.length_]) if text else None

    def _tokenizer(self) -> Any:
        if self._loaded[0] is not self.tokenizer_:
            self._loaded = (self.tokenizer_, tokenizers().Tokenizer.from_str(self.tokenizer_))
        return self._loaded[1]


def cut(cell: Any, characters: int) -> str:
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
    return WORD.findall(cut(cell, CHARACTERS_A_TOKEN * length).lower())[:length]


def tokenizers() -> Any:
    """The `tokenizers` library."""
    # it warns on standard error when a process that used its threads forks, as DataLoader workers do
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import tokenizers as library
    except ImportError as e:
        raise ImportError("Pieces needs the tokenizers library: pip install polymodal[hub]") from e
    return library


class Embedding(nn.Module):
    """Ids under a mask -> vectors (B, T, dim), 0 where nothing is real."""

    def __init__(self, vocabulary: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.table, self.drop = nn.Embedding(vocabulary, dim), nn.Dropout(dropout)
        # ten times smaller than usual: a rare word's random vector is then no loud noise (film reviews, 1,447
        # rows: 0.63 -> 0.68 right with a bag, 0.69 -> 0.71 with a transformer)
        nn.init.normal_(self.table.weight, std=0.1)

    def forward(self, x: Masked) -> Masked:
        """(B, T) ids -> (B, T, dim)."""
        return Masked(zeroed(Masked(self.drop(self.table(zeroed(x))), x.mask)), x.mask)


class TextConv(Encoder):
    """Embedding, then `layers` residual convolutions over three neighbouring tokens.

    x + dropout(conv(GELU(norm(x)))), norm over channels; after Kim 2014 and Kalchbrenner et al. 2014.
    """

    def __init__(self, vocabulary: int, dim: int, *, layers: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        self.vocabulary, self.dim, self.layers, self.dropout = vocabulary, dim, layers, dropout
        self.embedding = Embedding(vocabulary, dim, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(layers))
        convs = [nn.Conv1d(dim, dim, 3, padding=1) for _ in range(layers)]
        with torch.no_grad():
            for conv in convs:
                conv.weight.mul_(0.1)  # begins near the bag of embeddings, which few rows can't beat
        self.convs = nn.ModuleList(convs)

    @classmethod
    def for_codec(cls, codec: Any, size: Size) -> Self:
        """The convolutions for this vocabulary."""
        return cls(codec.vocabulary_size, size.dim, layers=size.layers)

    def forward(self, x: Masked) -> Masked:
        """(B, T) ids -> (B, T, dim)."""
        y, mask = self.embedding(x)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            h_btc = zeroed(Masked(norm(y).relu(), mask))
            h_btc = conv(h_btc.transpose(1, 2)).transpose(1, 2)
            y = zeroed(Masked(y + dropped(h_btc, self.dropout, self.training), mask))
        return Masked(y, mask)


class TextBag(Encoder):
    """Embedding alone: a mean over its tokens is the bag of embeddings. Strong on few rows.

    Joulin et al. 2017 (fastText).
    """

    def __init__(self, vocabulary: int, dim: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.vocabulary, self.dim, self.dropout = vocabulary, dim, dropout
        self.embedding = Embedding(vocabulary, dim, dropout)

    @classmethod
    def for_codec(cls, codec: Any, size: Size) -> Self:
        """The table for this vocabulary."""
        return cls(codec.vocabulary_size, size.dim)

    def forward(self, x: Masked) -> Masked:
        """(B, T) ids -> (B, T, dim)."""
        y: Masked = self.embedding(x)
        return y


class TextGRU(Encoder):
    """Embedding, then gated recurrent units in both directions, side by side in `dim`. Cho et al. 2014.

    Real tokens are moved to the front, so that a hole in the mask is as if it were not there.
    """

    def __init__(self, vocabulary: int, dim: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.vocabulary, self.dim, self.dropout = vocabulary, dim, dropout
        self.embedding = Embedding(vocabulary, dim, dropout)
        self.ahead, self.back = Recurrence(dim, dim - dim // 2), Recurrence(dim, dim // 2)

    @classmethod
    def for_codec(cls, codec: Any, size: Size) -> Self:
        """The recurrence for this vocabulary."""
        return cls(codec.vocabulary_size, size.dim)

    def forward(self, x: Masked) -> Masked:
        """(B, T) ids -> (B, T, dim)."""
        y_btd, mask = self.embedding(x)
        order_bt = (~mask).to(torch.uint8).argsort(dim=1, stable=True)  # real tokens first, in their order
        y_btd = gathered(y_btd, order_bt)
        time = torch.arange(mask.shape[1], device=mask.device)
        last_b1 = mask.sum(1, keepdim=True) - 1
        mirror_bt = torch.where(time <= last_b1, last_b1 - time, time)  # turns the real tokens round
        back_btd = gathered(self.back(gathered(y_btd, mirror_bt)), mirror_bt)
        y_btd = torch.cat([self.ahead(y_btd), back_btd], dim=-1)
        return Masked(zeroed(Masked(gathered(y_btd, order_bt.argsort(dim=1)), mask)), mask)


class Recurrence(nn.Module):
    """One direction of gated recurrent units, with its own weights: the compiler refuses ``nn.GRU``."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.width, self.hidden = width, hidden
        bound = hidden**-0.5
        shapes = [(3 * hidden, width), (3 * hidden, hidden), (3 * hidden,), (3 * hidden,)]
        self.weights = nn.ParameterList(nn.Parameter(torch.empty(s).uniform_(-bound, bound)) for s in shapes)

    def forward(self, x_btd: Tensor) -> Tensor:
        """(B, T, width) -> (B, T, hidden): the state after each step."""
        state = x_btd.new_zeros((1, x_btd.shape[0], self.hidden))
        y: Tensor = torch.gru(x_btd, state, list(self.weights), True, 1, 0.0, self.training, False, True)[0]
        return y


class TextTransformer(Encoder):
    """Embedding and positions, `layers` transformer blocks, a norm. Vaswani et al. 2017, pre-norm."""

    def __init__(self, vocabulary: int, dim: int, *, layers: int = 2, heads: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        self.vocabulary, self.dim, self.dropout = vocabulary, dim, dropout
        self.layers, self.heads = layers, heads
        self.embedding = Embedding(vocabulary, dim, dropout)
        self.blocks = nn.ModuleList(Block(dim, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    @classmethod
    def for_codec(cls, codec: Any, size: Size) -> Self:
        """The transformer for this vocabulary."""
        return cls(codec.vocabulary_size, size.dim, layers=size.layers, heads=size.heads)

    def forward(self, x: Masked) -> Masked:
        """(B, T) ids -> (B, T, dim)."""
        y, mask = self.embedding(x)
        y = Masked(y + positions(y.shape[1], self.dim, y), mask)
        for block in self.blocks:
            y = block(y)
        return Masked(zeroed(Masked(self.norm(y.values), mask)), mask)


def gathered(x_btd: Tensor, index_bt: Tensor) -> Tensor:
    """Tokens of each row in the order that the index gives."""
    return x_btd.gather(1, index_bt[..., None].expand_as(x_btd))
