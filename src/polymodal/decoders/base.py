"""The contract of a decoder, in prose: memory in, words out, one after another.

    memory (B, S, dim) --start--> State --forced(words)--> hidden (B, T, width) --logits--> (B, T, size)
                                        --step(word)-----> hidden (B, width), the next State

A decoder works on ids and knows no word. `forced` and a run of `step` give the same, so training, decoding with a
cache and explaining are one function.

Axes: b row, n caption of a row, t word, s memory token, d width, v word of the vocabulary.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch import Tensor, nn

from polymodal.batch import Masked
from polymodal.errors import InputError


class State(NamedTuple):
    """What the next word depends on. Every tensor has the rows as its first axis.

    fixed: of the memory alone, the same at every step. moving: of the words so far.
    """

    fixed: dict[str, Tensor]
    moving: dict[str, Tensor]

    def take(self, rows: Tensor) -> "State":
        """The rows at these positions, in this order."""
        return State(*({k: x.index_select(0, rows) for k, x in part.items()} for part in self))

    def follow(self, rows: Tensor) -> "State":
        """The words so far of the rows at these positions; the memory stays where it is, so each must share its own."""
        return State(self.fixed, {k: x[rows] for k, x in self.moving.items()})


class Forced(NamedTuple):
    """What a decoder makes of given words. hidden: (B, T, width). penalty: a scalar that is added to the loss."""

    hidden: Tensor
    penalty: Tensor


class Decoder(nn.Module, ABC):
    """Memory and the words so far -> the next word. Rows never see each other, and no word sees a later one.

    dim: width of the memory's tokens. size: how many ids there are. A row without a real memory token gives a finite
    answer, and so does a caption of any length.
    """

    dim: int
    size: int

    @abstractmethod
    def start(self, memory: Masked) -> State:
        """The state before the first word; whatever depends on the memory alone is computed here, once."""

    @abstractmethod
    def forced(self, state: State, ids: Masked) -> Forced:
        """Teacher forcing: (B, T) input words, the mark of the beginning first -> what precedes each next word.

        Places under a False mask come after the real ones; what is hidden there is finite and means nothing.
        """

    @abstractmethod
    def logits(self, hidden: Tensor) -> Tensor:
        """(..., width) -> (..., size)."""

    @abstractmethod
    def step(self, state: State, ids_b: Tensor) -> tuple[Tensor, State]:
        """One more word: (B,) ids -> (B, width) hidden, and the state after it."""

    @abstractmethod
    def attention(self, state: State, ids: Masked) -> Tensor:
        """(B, T, S) share of each memory token in what precedes each next word: sums to 1 over real tokens s.

        Of several layers and heads it is their mean.
        """


METHODS = ("greedy", "beam", "sample", "diverse")
BEAMS, DRAWN = ("beam", "diverse"), ("sample",)
KNOWN_TO = {  # the methods to which a setting means something; others mean something to all of them
    "beams": BEAMS,
    "length_penalty": BEAMS,
    "groups": ("diverse",),
    "diversity": ("diverse",),
    "top_k": DRAWN,
    "top_p": DRAWN,
    "temperature": DRAWN,
    "seed": DRAWN,
}


@dataclass(frozen=True)
class Decoding:
    """How captions are searched for.

    method: "greedy" takes the likeliest word; "beam" keeps the `beams` best beginnings until as many captions are
    finished; "sample" draws words; "diverse" is beam search in `groups`, each of which loses `diversity` for every word
    that an earlier group has chosen at the same step (Vijayakumar et al. 2018).
    captions: how many of each row. A finished caption of log-probability p and L words, its end being one of them, is
    ranked by p / L ^ length_penalty (Wu et al. 2016 without their constant). no_repeat: no sequence of so many words
    comes twice (0: any may). min_length and max_length in words; 0 is no minimum, and the longest that the task allows.
    top_k (0: all), top_p (Holtzman et al. 2020) and temperature shape what is drawn, by a generator with `seed`.
    """

    method: str = "beam"
    beams: int = 3
    captions: int = 1
    length_penalty: float = 1.0
    no_repeat: int = 0
    min_length: int = 0
    max_length: int = 0
    groups: int = 1
    diversity: float = 0.5
    top_k: int = 0
    top_p: float = 1.0
    temperature: float = 1.0
    seed: int = 0

    def check(self, size: int, longest: int | None = None) -> None:
        """Raises InputError for a search that no vocabulary of `size` words allows, or no text of `longest` ids.

        The mark of the end is one of these ids; None is no limit.
        """
        most = float("inf") if longest is None else max(0, longest - 1)
        limit = "" if longest is None else f", at most {most}: the model writes no longer texts"
        rules = {
            "method": (self.method in METHODS, f"one of {', '.join(METHODS)}"),
            "beams": (1 <= self.beams <= size, f"from 1 to the size of the vocabulary, {size:,}"),
            "captions": (self.captions >= 1, "a whole number from 1"),
            "length_penalty": (abs(self.length_penalty) < 100, "a finite number, such as 1.0; 0 for none"),
            "no_repeat": (self.no_repeat >= 0, "a whole number of words, 0 to allow repeats"),
            "min_length": (0 <= self.min_length <= most, f"a whole number of words{limit}"),
            "max_length": (
                self.max_length == 0 or self.max_length >= max(1, self.min_length),
                "a whole number of words, at least min-length; 0 for the longest that the model writes",
            ),
            "groups": (
                self.groups >= 1 and self.beams % self.groups == 0,
                f"a number that divides the {self.beams} beams" if self.groups >= 1 else "a whole number from 1",
            ),
            "diversity": (0 <= self.diversity < float("inf"), "a number from 0"),
            "top_k": (self.top_k >= 0, "a whole number, 0 for all words"),
            "top_p": (0 < self.top_p <= 1, "a number above 0, up to 1"),
            "temperature": (0 < self.temperature < float("inf"), "a finite number above 0"),
            "seed": (0 <= self.seed < 2**32, "a whole number from 0 to 4294967295"),
        }
        for name, (good, expected) in rules.items():
            if not good:
                raise InputError(f"{name.replace('_', '-')} can't be {getattr(self, name)!r}; it must be {expected}")
        most = 1 if self.method == "greedy" else self.beams
        if self.method != "sample" and self.captions > most:
            raise InputError(
                f"{self.captions} captions can't come of {most} beam{'s' * (most != 1)}; ask for fewer, for more "
                f"beams (--beams {self.captions}), or draw them (--decoding sample)"
            )

    def asked(self, size: int, longest: int | None = None, **given: Any) -> "Decoding":
        """This search with the given settings in place of its own, and with what they imply.

        A method that is not given follows from the others: this one where it knows them all, else the first of beam,
        diverse and sample that does. A seed alone does not ask to draw. Beams that are not given are as many as
        captions and groups need; groups that are not given, of a diverse search, are as many as beams. size,
        longest: as `check` has them.
        Raises InputError for a setting that would change nothing, and for a search that `check` refuses.
        """
        method = given["method"] if "method" in given else self._implied(given)
        if method not in METHODS:
            replace(self, method=method).check(size, longest)
        how = replace(self, **{**self._beamed(method, size, given), **given, "method": method})
        how._heed(given)
        how.check(size, longest)
        return how

    def _implied(self, given: Mapping[str, Any]) -> str:
        """The first method to which everything given means something."""
        known = {k: _known_to(k, given.get("captions", self.captions)) for k in given if k != "seed"}
        for method in (self.method, "beam", "diverse", "sample"):
            if all(method in methods for methods in known.values()):
                return method
        apart = [f"{_option(k, given[k])} ({' or '.join(m)})" for k, m in known.items() if k in KNOWN_TO]
        raise InputError(f"no one way of decoding knows all of {', '.join(apart)}; leave out those of the other")

    def _beamed(self, method: str, size: int, given: Mapping[str, Any]) -> dict[str, int]:
        """Beams and groups as they are where they are not given."""
        if method not in BEAMS:
            return {"groups": 1}
        beams, groups = given.get("beams"), given.get("groups") if method == "diverse" else 1
        if groups is None and self.method == "diverse" and self.groups > 1 and (beams or self.beams) % self.groups == 0:
            groups = self.groups
        if beams is None:
            least = max(2, self.beams) if method == "diverse" else self.beams
            beams = _enough(max(1, given.get("captions", self.captions)), max(1, groups or 1), least, size)
        return {"beams": beams, "groups": beams if groups is None else groups}

    def _heed(self, given: Mapping[str, Any]) -> None:
        """Raises InputError where something given changes nothing."""
        for name in given:
            if self.method not in (known := _known_to(name, self.captions)):
                raise InputError(
                    f"{_option(name, given[name])} means nothing to {self.method} decoding; leave it out, or use "
                    f"--decoding {' or '.join(known)}"
                )
        if "length_penalty" in given and self.method == "beam" and self.beams == 1:
            raise InputError(
                f"{_option('length_penalty', self.length_penalty)} changes nothing where one beam is kept; leave it "
                "out, or ask for more, such as --beams 3"
            )
        if self.method == "diverse" and self.groups == 1:
            raise InputError(
                "a diverse search needs 2 groups of beams or more, not 1; ask for more, such as --beams 4 --groups 2, "
                "or use --decoding beam"
            )


def _known_to(name: str, captions: int) -> tuple[str, ...]:
    """The methods to which a setting means something."""
    if captions > 1 and name in ("captions", "length_penalty"):  # several are ranked, and greedy has but one
        return METHODS[1:]
    return KNOWN_TO.get(name, METHODS)


def _option(name: str, value: Any) -> str:
    return f"--{name.replace('_', '-')} {value}"


def _enough(captions: int, groups: int, least: int, size: int) -> int:
    """The fewest beams that are a multiple of `groups`, at least `captions`, and `least` where the size allows it."""
    need, wished = (-(-n // groups) * groups for n in (captions, max(captions, least)))
    if captions > size:
        raise InputError(
            f"captions can't be {captions}; a search by beams finds at most as many as the size of the vocabulary, "
            f"{size:,}: ask for fewer, or draw them (--decoding sample)"
        )
    if need > size:
        raise InputError(
            f"groups can't be {groups} for {captions} caption{'s' * (captions != 1)}; that takes {need:,} beams, and "
            f"there are at most as many as the size of the vocabulary, {size:,}: ask for fewer groups"
        )
    return max(need, min(wished, size // groups * groups))
