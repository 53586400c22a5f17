"""The contract of an autoregressive decoder, in prose: memory in, tokens out, one after another.

    memory (B, S, dim) --start--> State --teacher_forcing(tokens)--> hidden (B, T, width) --logits--> (B, T, size)
                                        --step(token)-------------> hidden (B, width), the next State

A decoder works on token ids. `teacher_forcing` and successive `step`s give the same hidden states, so that training,
cached generation and explanation are one function.

Axes: b row, n caption of a row, t token, s memory token, d width, v token of the vocabulary.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

from torch import Tensor, nn

from polymodal.batch import Masked
from polymodal.errors import InputError


class State(NamedTuple):
    """What the next token depends on. The first axis of every tensor is the rows.

    memory: computed once from the memory. past: of the tokens so far, such as keys and values or a recurrent state.
    """

    memory: dict[str, Tensor]
    past: dict[str, Tensor]

    def take(self, rows: Tensor) -> "State":
        """The rows at these positions, in this order."""
        return State(*({k: x.index_select(0, rows) for k, x in part.items()} for part in self))

    def reorder(self, rows: Tensor) -> "State":
        """With the past of the rows at these positions, as beams need it: rows whose memory is the same."""
        return State(self.memory, {k: x[rows] for k, x in self.past.items()})


class HiddenStates(NamedTuple):
    """The output of teacher forcing. hidden: (B, T, width). penalty: a scalar that is added to the loss."""

    hidden: Tensor
    penalty: Tensor


class Decoder(nn.Module, ABC):
    """Memory and the tokens so far -> the next token. Rows never see each other, and decoding is causal.

    dim: width of the memory's tokens. size: of the vocabulary. The output is finite for a row whose memory is all
    masked, and for a caption of any length.
    """

    dim: int
    size: int

    @abstractmethod
    def start(self, memory: Masked) -> State:
        """The state before the first token; whatever depends on the memory alone is computed here, once."""

    @abstractmethod
    def teacher_forcing(self, state: State, ids: Masked) -> HiddenStates:
        """(B, T) input tokens, that of the beginning first -> the hidden states from which each next one is predicted.

        Padding is on the right; hidden states there are finite and have no meaning.
        """

    @abstractmethod
    def logits(self, hidden: Tensor) -> Tensor:
        """(..., width) -> (..., size)."""

    @abstractmethod
    def step(self, state: State, ids_b: Tensor) -> tuple[Tensor, State]:
        """One more token: (B,) ids -> its hidden state (B, width), and the next state."""

    @abstractmethod
    def attention(self, state: State, ids: Masked) -> Tensor:
        """(B, T, S) attention weights over the memory at each token; they sum to 1 over real tokens s.

        Of several layers and heads they are the mean.
        """


METHODS = ("greedy", "beam", "sample", "diverse")
BEAM_SEARCHES = ("beam", "diverse")
USED_BY = {  # the methods that use a setting; all of them use the others
    "beams": BEAM_SEARCHES,
    "length_penalty": BEAM_SEARCHES,
    "groups": ("diverse",),
    "diversity": ("diverse",),
    "top_k": ("sample",),
    "top_p": ("sample",),
    "temperature": ("sample",),
    "seed": ("sample",),
}


@dataclass(frozen=True)
class Decoding:
    """How captions are generated from the probabilities of the next token.

    method: "greedy" takes the most probable token; "beam" is beam search with `beams` hypotheses a row; "sample" draws
    tokens; "diverse" is beam search in `groups` of beams, in which `diversity` is subtracted from a token's score for
    each earlier group that has chosen it at the same step (Vijayakumar et al. 2018).
    captions: how many of each row. Finished hypotheses of log-probability p and L tokens, the end-of-text token being
    one of them, are ranked by p / L ^ length_penalty (Wu et al. 2016 without their constant). no_repeat: size of
    n-grams that occur once at most in a caption (0: no limit). min_length and max_length: in tokens, the latter 0 for
    the longest that the task allows. groups: of a diverse search, 0 for one beam a group. top_k (0: all), top_p
    (nucleus sampling, Holtzman et al. 2020) and temperature shape the distribution that is sampled from, with `seed`.
    """

    method: str = "beam"
    beams: int = 3
    captions: int = 1
    length_penalty: float = 1.0
    no_repeat: int = 0
    min_length: int = 0
    max_length: int = 0
    groups: int = 0
    diversity: float = 0.5
    top_k: int = 0
    top_p: float = 1.0
    temperature: float = 1.0
    seed: int = 0

    def check(self, size: int, longest: int | None = None) -> None:
        """Raises InputError for settings that are out of range, or that the method does not use.

        size: of the vocabulary. longest: the most ids of a text, the mark of the end being one; None is no limit.
        """
        most = float("inf") if longest is None else max(0, longest - 1)
        limit = "" if longest is None else f", at most {most}: the model writes no longer texts"
        rules = {
            "method": (self.method in METHODS, f"one of {', '.join(METHODS)}"),
            "beams": (1 <= self.beams <= size, f"from 1 to the size of the vocabulary, {size:,}"),
            "captions": (self.captions >= 1, "a whole number from 1"),
            "length_penalty": (abs(self.length_penalty) < 100, "a finite number, such as 1.0; 0 for none"),
            "no_repeat": (self.no_repeat >= 0, "a whole number of tokens, 0 for no limit"),
            "min_length": (0 <= self.min_length <= most, f"a whole number of tokens{limit}"),
            "max_length": (
                self.max_length == 0 or self.max_length >= max(1, self.min_length),
                "a whole number of tokens, at least min-length; 0 for the longest that the model writes",
            ),
            "groups": (
                self.groups == 0 or (self.groups > 1 and self.beams % self.groups == 0),
                f"a number from 2 that divides the {self.beams} beams, or 0 for one beam a group",
            ),
            "diversity": (0 <= self.diversity < float("inf"), "a number from 0"),
            "top_k": (self.top_k >= 0, "a whole number, 0 for all tokens"),
            "top_p": (0 < self.top_p <= 1, "a number above 0, up to 1"),
            "temperature": (0 < self.temperature < float("inf"), "a finite number above 0"),
            "seed": (0 <= self.seed < 2**32, "a whole number from 0 to 4294967295"),
        }
        for name, (good, rule) in rules.items():
            if not good:
                raise InputError(f"{name.replace('_', '-')} can't be {getattr(self, name)!r}; it must be {rule}")
        self._check_used(f.name for f in fields(self) if getattr(self, f.name) != f.default)
        self._check_beams(size)

    def override(self, size: int, longest: int | None = None, **options: Any) -> "Decoding":
        """This search with the given settings in place of its own. size, longest: as `check` has them.

        Under another method, settings that not every method uses begin with their defaults. Raises InputError for a
        setting that the method does not use, and for a search that `check` refuses.
        """
        own = self
        if options.get("method", self.method) != self.method:
            own = Decoding(**{f.name: getattr(self, f.name) for f in fields(self) if f.name not in USED_BY})
        new = replace(own, **options)
        if new.method in METHODS:
            new._check_used(options)
        new.check(size, longest)
        if "length_penalty" in options and new.method == "beam" and new.beams == 1:
            raise InputError(
                f"{_option('length_penalty', new.length_penalty)} has no effect on the ranking of one beam; leave it "
                "out, or ask for more beams, such as --beams 3"
            )
        return new

    def _check_used(self, names: Iterable[str]) -> None:
        """Raises InputError for a setting that the method does not use."""
        for name in names:
            # several samples are ranked, and so have a use for the length penalty
            methods = METHODS[1:] if name == "length_penalty" and self.captions > 1 else USED_BY.get(name, METHODS)
            if self.method not in methods:
                raise InputError(
                    f"{_option(name, getattr(self, name))} has no effect on {self.method} decoding; leave it out, or "
                    f"use --decoding {' or '.join(methods)}"
                )

    def _check_beams(self, size: int) -> None:
        """Raises InputError for more captions than there are beams, and for a diverse search without groups."""
        if self.method == "greedy" and self.captions > 1:
            raise InputError(
                f"greedy decoding gives one caption a row, not {self.captions}; use --decoding beam with --beams "
                f"{self.captions}, or --decoding sample"
            )
        if self.method in BEAM_SEARCHES and self.captions > self.beams:
            more = f"more beams (--beams {self.captions})" if self.captions <= size else "fewer"
            raise InputError(
                f"{self.captions} captions can't come of {self.beams} beam{'s' * (self.beams != 1)}; ask for {more}, "
                "or sample them (--decoding sample)"
            )
        if self.method == "diverse" and self.beams == 1:
            raise InputError(
                "a diverse beam search needs 2 beams or more, not 1; ask for more, such as --beams 4 --groups 2, or "
                "use --decoding beam"
            )


def _option(name: str, value: Any) -> str:
    return f"--{'decoding' if name == 'method' else name.replace('_', '-')} {value}"
