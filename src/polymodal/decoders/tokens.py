"""The vocabulary of a pretrained network: its own tokenizer."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from polymodal.errors import InputError
from polymodal.modalities.pretrained.source import LOCK, copy, tokenizer
from polymodal.tasks.vocabulary import Vocabulary, remember, space


class HubTokens(Vocabulary):
    """Ids of a pretrained network's own tokenizer; nothing is learned.

    source: name or folder, as in `modalities.pretrained.HubText`. The begin- and end-of-text tokens are the
    tokenizer's own; without a beginning, its classification or padding token is used, or as in GPT-2 the end. `text`
    inverts `ids` exactly with byte-level tokenizers; BERT's drops case, and puts a space before each punctuation mark.
    """

    pretrained = True

    def __init__(self, source: str) -> None:
        self.source = source
        self._loaded: tuple[str, Any, dict[str, list[int]]] = ("", None, {})

    def fit(self, texts: Iterable[str]) -> Self:
        """Nothing is learned. Raises InputError for a tokenizer without an end-of-text token."""
        _ = self.end
        return self

    def ids(self, text: str) -> list[int]:
        """The tokenizer's ids; a special token that is spelled out in the text is split into ordinary ones."""
        tokenizer, memory = self._tokenizer(), self._loaded[2]
        ids = memory.get(text)
        if ids is None:
            with LOCK:  # truncation and padding are states of the tokenizer
                form = tokenizer(space(text), add_special_tokens=False, split_special_tokens=True)
            ids = [int(i) for i in form["input_ids"]]
            remember(memory, text, ids, 1_000)
        return list(ids)

    def text(self, ids: Sequence[int]) -> str:
        """The text that the tokenizer decodes."""
        return space(str(self._tokenizer().decode([int(i) for i in ids], skip_special_tokens=True)))

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The tokenizer's pieces, without its sign of a space before a word."""
        pieces = self._tokenizer().convert_ids_to_tokens([int(i) for i in ids])
        return [p.lstrip("Ġ▁") or "␣" for p in pieces]

    @property
    def size(self) -> int:
        """The size of the tokenizer's vocabulary; a network's may be padded."""
        return len(self._tokenizer())

    @property
    def begin(self) -> int:
        """The beginning-of-text token, or its substitute."""
        token = first(self._tokenizer(), "bos_token_id", "cls_token_id", "pad_token_id")
        return self.end if token is None else token

    @property
    def end(self) -> int:
        """The end-of-text token. Raises InputError where the tokenizer has none."""
        token = first(self._tokenizer(), "eos_token_id", "sep_token_id")
        if token is None:
            raise InputError(
                f"the tokenizer of {self.source!r} has no end-of-text token (eos or sep); use that "
                "of a network that writes, such as GPT-2's, or a vocabulary of your texts: words, bpe or characters"
            )
        return token

    @property
    def unknown(self) -> int:
        """The unknown token; of a byte-level tokenizer, which has none, the beginning."""
        token = first(self._tokenizer(), "unk_token_id")
        return self.begin if token is None else token

    @property
    def banned(self) -> list[int]:
        """All special tokens but the end."""
        return sorted({*map(int, self._tokenizer().all_special_ids), self.begin, self.unknown} - {self.end})

    def save_source(self, folder: Path) -> None:
        """Write what `source` needs to be this folder: config and tokenizer."""
        copy(self.source, folder, weights=False)

    def _tokenizer(self) -> Any:
        if self._loaded[0] != self.source:
            self._loaded = (self.source, tokenizer(self.source), {})
        return self._loaded[1]


def first(tokenizer: Any, *names: str) -> int | None:
    """The first of these special tokens that the tokenizer has."""
    for name in names:
        if (token := getattr(tokenizer, name, None)) is not None:
            return int(token)
    return None
