"""The vocabulary of a pretrained network: the tokenizer that it was trained with."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from polymodal.errors import InputError
from polymodal.modalities.pretrained.source import LOCK, copy, tokenizer
from polymodal.tasks.vocabulary import Vocabulary, remember, spaced


class HubTokens(Vocabulary):
    """Ids of a pretrained network's own tokenizer; nothing is learned.

    source: name or folder, as in `modalities.pretrained.HubText`. begin and end are the tokenizer's own; where it has
    no begin, its classification or padding mark stands in, and GPT-2's end is its begin. Byte-level tokenizers undo
    `ids` exactly; others as well as they can (BERT drops case, and puts a space before each punctuation mark).
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._loaded: tuple[str, Any, dict[str, list[int]]] = ("", None, {})

    def fit(self, texts: Iterable[str]) -> Self:
        """Nothing is learned. Raises InputError for a tokenizer without a mark of the end."""
        _ = self.end
        return self

    def ids(self, text: str) -> list[int]:
        """The tokenizer's ids, none of which is a mark, whatever the text spells."""
        tokenizer, memory = self._tokenizer(), self._loaded[2]
        found = memory.get(text)
        if found is None:
            with LOCK:  # truncation and padding are states of the tokenizer
                form = tokenizer(spaced(text), add_special_tokens=False, split_special_tokens=True)
            found = [int(i) for i in form["input_ids"]]
            remember(memory, text, found, 1_000)
        return list(found)

    def text(self, ids: Sequence[int]) -> str:
        """What the tokenizer says of them."""
        return spaced(str(self._tokenizer().decode([int(i) for i in ids], skip_special_tokens=True)))

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The tokenizer's pieces, without its sign of a space before a word."""
        pieces = self._tokenizer().convert_ids_to_tokens([int(i) for i in ids])
        return [p.lstrip("Ġ▁") or "␣" for p in pieces]

    @property
    def size(self) -> int:
        """How many ids the tokenizer has; a network may have spare ones behind them."""
        return len(self._tokenizer())

    @property
    def begin(self) -> int:
        """The tokenizer's begin, or what stands in for it."""
        found = first(self._tokenizer(), "bos_token_id", "cls_token_id", "pad_token_id")
        return self.end if found is None else found

    @property
    def end(self) -> int:
        """The tokenizer's end. Raises InputError where it has none."""
        found = first(self._tokenizer(), "eos_token_id", "sep_token_id")
        if found is None:
            raise InputError(
                f"the tokenizer of {self.source!r} has no mark of the end (eos or sep), so no text could end; use that "
                "of a network that writes, such as GPT-2's, or a vocabulary of your texts: words, bpe or characters"
            )
        return found

    @property
    def unknown(self) -> int:
        """The tokenizer's unknown; of one over bytes, which knows everything, its begin."""
        found = first(self._tokenizer(), "unk_token_id")
        return self.begin if found is None else found

    @property
    def banned(self) -> list[int]:
        """All of the tokenizer's marks but the end."""
        return sorted({*map(int, self._tokenizer().all_special_ids), self.begin, self.unknown} - {self.end})

    def save_source(self, folder: Path) -> None:
        """Write what `source` needs to be this folder: config and tokenizer."""
        copy(self.source, folder, weights=False)

    def _tokenizer(self) -> Any:
        if self._loaded[0] != self.source:
            self._loaded = (self.source, tokenizer(self.source), {})
        return self._loaded[1]


def first(tokenizer: Any, *names: str) -> int | None:
    """The first of these marks that the tokenizer has."""
    for name in names:
        if (found := getattr(tokenizer, name, None)) is not None:
            return int(found)
    return None
