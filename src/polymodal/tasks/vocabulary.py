"""Vocabularies: what a text is made of when a model has to write one.

    "A man in Paris." --ids--> [4, 9, 6, 41, 3] --text--> "a man in Paris."

`text` undoes `ids` up to runs of white space, in any script, as far as the tokens are known. Ids 0, 1 and 2 are the
begin of a text, its end and the unknown.
"""

import os
import re
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, ClassVar, Self

from polymodal.errors import InputError

MARKS = ("<begin>", "<end>", "<unknown>")
# Before a token that stood without a space before it. White space itself, so that no token of a text can hold it.
JOINER = "\x1f"
MEMORY = 200_000  # distinct chunks whose ids are kept: the same words come again and again


class Vocabulary(ABC):
    """Texts <-> ids. Arguments of the constructor are settings; what `fit` learned ends in "_" (see `spec`).

    per_word: ids that a word takes, about. pretrained: whether it is a network's own, so that nothing is learned.
    """

    per_word: ClassVar[int] = 1
    pretrained: ClassVar[bool] = False

    @abstractmethod
    def fit(self, texts: Iterable[str]) -> Self:
        """Learn from the texts of training rows. Raises InputError where none of them holds anything."""

    @abstractmethod
    def ids(self, text: str) -> list[int]:
        """The text's ids, without begin and end; `unknown` for what was never seen. Cut at nothing."""

    @abstractmethod
    def text(self, ids: Sequence[int]) -> str:
        """What the ids say, in NFC, without marks. Of known tokens it is the inverse of `ids`, white space apart."""

    @abstractmethod
    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Each id as a person reads it, for pictures."""

    @property
    @abstractmethod
    def size(self) -> int:
        """How many ids there are."""

    @property
    def begin(self) -> int:
        """The id that stands before the first token."""
        return 0

    @property
    def end(self) -> int:
        """The id that stands behind the last token."""
        return 1

    @property
    def unknown(self) -> int:
        """The id of what was never seen."""
        return 2

    @property
    def banned(self) -> list[int]:
        """Ids that no text may hold; `end` is not among them."""
        return [self.begin, self.unknown]


class WordList(Vocabulary):
    """Words, and punctuation marks apart from them.

    A text is split at white space. Punctuation and symbols are tokens of their own, 's or 't with its apostrophe; so
    is each character, with its combining marks, of a script without spaces between words. `words_` holds the `limit`
    commonest tokens that came at least `min_count` times (all of them, where none did); id i + 3 is `words_[i]`. A
    token that stood without a space before it begins with JOINER. Where only one of a token's two forms is known, it
    stands for the other.

    Words that differ in case are one. It is written as it was seen most often anywhere but at the start of a text, in
    lower case where it was never seen there (after Lita et al. 2003): "a man in Paris".
    """

    words_: list[str]

    def __init__(self, limit: int = 20_000, min_count: int = 2) -> None:
        self.limit, self.min_count = limit, min_count
        self._index: tuple[list[str], dict[str, int], dict[str, list[int]]] = ([], {}, {})

    def fit(self, texts: Iterable[str]) -> Self:
        """Learn `words_`, the commonest first."""
        least(self, limit=1, min_count=1)
        count: Counter[str] = Counter()
        forms: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for (chunk, starts), n in _chunks(texts).items():
            for token in opening(chunk) if starts else pieces(chunk):
                count[fold_case(token)] += n
                forms[fold_case(token)][token] += 0 if starts else n
                starts = starts and not any(map(str.isalnum, token))  # a text may start with a quotation mark
        order = sorted(count, key=lambda k: (-count[k], k))
        frequent = [k for k in order if count[k] >= self.min_count] or order
        self.words_ = [_commonest(forms[k]) for k in frequent[: self.limit]]
        return self

    def ids(self, text: str) -> list[int]:
        """One id a word or punctuation mark."""
        if self._index[0] is not self.words_:
            self._index = (self.words_, {fold_case(w): i for i, w in enumerate(self.words_, len(MARKS))}, {})
        _, places, memory = self._index
        out: list[int] = []
        for chunk in compose(text).split():
            ids_ = memory.get(chunk)
            if ids_ is None:
                ids_ = [self._id(fold_case(token), places) for token in pieces(chunk)]
                remember(memory, chunk, ids_)
            out += ids_
        return out

    def _id(self, key: str, places: dict[str, int]) -> int:
        other = key[1:] if key[0] == JOINER else JOINER + key
        return places.get(key, places.get(other, self.unknown))

    def text(self, ids: Sequence[int]) -> str:
        """Words with a space between them, but before a joined one."""
        words = (self.words_[i - len(MARKS)] for i in ids if i >= len(MARKS))
        return compose(" ".join(words).replace(" " + JOINER, "").replace(JOINER, ""))

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The words, punctuation as it is."""
        return [MARKS[i] if i < len(MARKS) else self.words_[i - len(MARKS)].lstrip(JOINER) for i in ids]

    @property
    def size(self) -> int:
        """The known words and three marks."""
        return len(self.words_) + len(MARKS)


class CharacterList(Vocabulary):
    """Characters of the composed form (NFC), the space among them; case is kept.

    `characters_` holds the `limit` commonest; id i + 3 is `characters_[i]`.
    """

    per_word = 8
    characters_: list[str]

    def __init__(self, limit: int = 2_000) -> None:
        self.limit = limit
        self._index: tuple[list[str], dict[str, int]] = ([], {})

    def fit(self, texts: Iterable[str]) -> Self:
        """Learn `characters_`, the commonest first."""
        least(self, limit=1)
        count: Counter[str] = Counter()
        for text in real(texts):
            count.update(text)
        self.characters_ = sorted(count, key=lambda c: (-count[c], c))[: self.limit]
        return self

    def ids(self, text: str) -> list[int]:
        """One id a character, one for a run of white space."""
        if self._index[0] is not self.characters_:
            self._index = (self.characters_, {c: i for i, c in enumerate(self.characters_, len(MARKS))})
        places, unknown = self._index[1], self.unknown
        return [places.get(c, unknown) for c in space(text)]

    def text(self, ids: Sequence[int]) -> str:
        """The characters side by side."""
        return space("".join(self.characters_[i - len(MARKS)] for i in ids if i >= len(MARKS)))

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The characters; a space is drawn."""
        return [MARKS[i] if i < len(MARKS) else self.characters_[i - len(MARKS)].replace(" ", "␣") for i in ids]

    @property
    def size(self) -> int:
        """The known characters and three marks."""
        return len(self.characters_) + len(MARKS)


class Subwords(Vocabulary):
    """Pieces of words, `limit` at most, learned by byte-pair encoding over bytes, so that nothing is unknown.

    Case is kept. Sennrich et al. 2016; over bytes, Radford et al. 2019. `bpe_` is the JSON of the `tokenizers` library;
    its ids are moved up by the three marks, so no text can spell one.
    """

    bpe_: str

    def __init__(self, limit: int = 8_000) -> None:
        self.limit = limit
        self._loaded: tuple[str, Any, dict[str, list[int]]] = ("", None, {})

    def fit(self, texts: Iterable[str]) -> Self:
        """Learn the pieces. Raises ImportError without the library."""
        least(self, limit=256)
        library, texts = tokenizers(), real(texts)
        learner = library.Tokenizer(library.models.BPE())
        learner.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=True)
        learner.decoder = library.decoders.ByteLevel()
        alphabet = sorted(library.pre_tokenizers.ByteLevel.alphabet())
        trainer = library.trainers.BpeTrainer(
            vocab_size=self.limit, min_frequency=2, initial_alphabet=alphabet, show_progress=False
        )
        learner.train_from_iterator(texts, trainer)
        self.bpe_ = learner.to_str()
        return self

    def ids(self, text: str) -> list[int]:
        """One id a piece."""
        bpe, memory = self._tokenizer()
        out: list[int] = []
        for chunk in compose(text).split():  # no piece reaches over a space
            ids_ = memory.get(chunk)
            if ids_ is None:
                ids_ = [i + len(MARKS) for i in bpe.encode(chunk).ids]
                remember(memory, chunk, ids_)
            out += ids_
        return out

    def text(self, ids: Sequence[int]) -> str:
        """The pieces side by side; bytes that are no UTF-8 become the replacement character."""
        inner = [int(i) - len(MARKS) for i in ids if i >= len(MARKS)]
        return space(str(self._tokenizer()[0].decode(inner)))

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """A word's first piece as it is, its others behind ##; what can't be printed by its bytes."""
        return [MARKS[i] if i < len(MARKS) else self._readable(int(i) - len(MARKS)) for i in ids]

    def _readable(self, piece: int) -> str:
        bpe, _ = self._tokenizer()
        text = str(bpe.decode([piece]))
        if "\ufffd" in text or not text.isprintable():
            letters = _byte_letters()
            return "".join(f"<{letters[c]:02x}>" for c in bpe.id_to_token(piece))
        if text.startswith(" "):
            return text.strip() or "␣"
        return "##" + text if text.isalnum() else text

    def _tokenizer(self) -> tuple[Any, dict[str, list[int]]]:
        if self._loaded[0] is not self.bpe_:
            self._loaded = (self.bpe_, tokenizers().Tokenizer.from_str(self.bpe_), {})
        return self._loaded[1], self._loaded[2]

    @property
    def size(self) -> int:
        """The pieces, the 256 bytes among them, and three marks."""
        return int(self._tokenizer()[0].get_vocab_size()) + len(MARKS)


# --- words of a text ----------------------------------------------------------------------------------

# Scripts without spaces between words, with their punctuation: Han, kana, bopomofo, Yi; Thai, Lao, Myanmar, Khmer, Tai,
# Balinese, Javanese
NO_SPACES = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u1b00-\u1b7f\u3001-\u303f"
    "\u3040-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\ua980-\ua9ff\uaa60-\uaadf\uf900-\ufaff"
    "\uff01-\uff0f\uff1a-\uff20\uff61-\uff9f\U00016fe0-\U00018d08\U0001aff0-\U0001b16f\U00020000-\U0003ffff"
)
# What clings to the character before it and is no combining mark: joiners, directions, skin tones, tags of flags
CLINGING = "\u00ad\u034f\u200c-\u200f\u2060\ufeff\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f"


@cache
def _token() -> re.Pattern[str]:
    """A word; an apostrophe with a letter or two at a word's end; one character of any other kind. Marks cling."""
    every = (*range(0x300, 0x20000), *range(0xE0100, 0xE01F0))
    marks = "".join(c for c in map(chr, every) if unicodedata.category(c)[0] == "M")
    m, letter = f"[{CLINGING}{re.escape(marks)}]", rf"[^\W_{NO_SPACES}]"
    word = rf"{letter}+(?:{m}+{letter}*)*"
    return re.compile(rf"{word}|(?<=[^\W_])['’]{letter}{{1,2}}(?!\w|{m})|[{NO_SPACES}]{m}*|(?:[^\w\s]|_){m}*")


def pieces(chunk: str) -> tuple[str, ...]:
    """Tokens of what stands between two spaces; all but the first begin with JOINER.

    >>> [p.replace(JOINER, "+") for p in pieces("(man's)")]
    ['(', '+man', "+'s", '+)']
    """
    first, *others = _token().findall(chunk)
    return (first, *(JOINER + token for token in others))


def opening(chunk: str) -> tuple[str, ...]:
    """Pieces of a text's first chunk. A character of a script without spaces counts as joined there too, so that it is
    known in the form that it has everywhere else."""
    first, *others = pieces(chunk)
    return (JOINER + first if re.match(f"[{NO_SPACES}]", first) else first, *others)


def fold_case(token: str) -> str:
    """The token without case, in NFC."""
    return compose(token.casefold())


def _chunks(texts: Iterable[str]) -> Counter[tuple[str, bool]]:
    """How often each run without white space comes, and whether at the start of a text."""
    starting: Counter[str] = Counter()
    inner: Counter[str] = Counter()
    for text in real(texts):
        first, *others = text.split(" ")
        starting[first] += 1
        inner.update(others)
    return Counter({**{(c, True): n for c, n in starting.items()}, **{(c, False): n for c, n in inner.items()}})


def _commonest(forms: Counter[str]) -> str:
    """The commonest form, of equals the one in lower case; a form counts 0 that was seen at starts alone."""
    small = {form.lower() for form in forms}
    if not any(forms.values()):
        forms = Counter(dict.fromkeys(small, 0))
    return min(forms, key=lambda form: (-forms[form], form not in small, form))


# --- what all kinds share -----------------------------------------------------------------------------


def compose(text: str) -> str:
    """The text in NFC; a lone surrogate, which JSON may hold and no encoding can write, becomes a question mark."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode())


def space(text: str) -> str:
    """The text in NFC, with one space for each run of white space and none at its ends."""
    return " ".join(compose(text).split())


def real(texts: Iterable[str]) -> list[str]:
    """The texts that hold something, spaced; raises InputError where there is none."""
    every = list(texts)
    out = [t for t in map(space, every) if t]
    if not out:
        reason = f"all {len(every)} training texts are blank" if every else "there is no training text"
        raise InputError(f"{reason}, so there are no words to learn; name a target column that holds text")
    return out


def remember(memory: dict[str, list[int]], chunk: str, ids: list[int], longest: int = 100) -> None:
    """Keep the ids of a chunk of at most `longest` characters; all is forgotten when there is too much."""
    if len(memory) >= MEMORY:
        memory.clear()
    if len(chunk) <= longest:
        memory[chunk] = ids


def least(vocabulary: Vocabulary, **bounds: int) -> None:
    """Raises InputError for a setting below its bound."""
    for name, bound in bounds.items():
        value = getattr(vocabulary, name)
        if not isinstance(value, int) or value < bound:
            kind = type(vocabulary).__name__
            raise InputError(f"{kind}: {name} can't be {value!r}; it must be a whole number from {bound}")


@cache
def _byte_letters() -> dict[str, int]:
    """Which byte each letter of the byte-level alphabet stands for: printable ones for themselves, others in order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = (b for b in range(256) if b not in printable)
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}


def tokenizers() -> Any:
    """The `tokenizers` library."""
    # it warns on standard error when a process that used its threads forks, as DataLoader workers do
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import tokenizers as library
    except ImportError as e:
        raise ImportError("Subwords needs the tokenizers library: pip install polymodal[hub]") from e
    return library


VOCABULARIES: dict[str, type[Vocabulary]] = {"words": WordList, "bpe": Subwords, "characters": CharacterList}
