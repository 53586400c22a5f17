"""The two errors that input can cause. Each message names what came, what was expected and the way out."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Integral
from typing import Any

RECORDS = {  # options that are fields of a record in `config`
    "Columns": "kinds encoders finetune split order gap",
    "Target": "metric class_weight optimize_threshold",  # and weight, which is an argument of distill as well
    "Search": "size baselines prefer",
    "Training": "epochs batch_size lr precision modality_dropout",
    "Run": "resume overwrite cache allow_overlap n_jobs device",
    "Writing": "decoder vocabulary min_count max_words smoothing dropout scheduled_sampling self_critical "
    "finetune_decoder language",
    "Colearning": "imputation balance cyclic init_from pretrain unlabelled",
    "Decoding": "method beams captions length_penalty no_repeat min_length max_length groups diversity top_k top_p",
}
PLAIN = (  # those that are arguments of verbs, if only of one
    "fusion folds target valid test out group ignore task time_limit preset seed without coverage abstain keep train "
    "given against fractions repeats weight temperature card columns dim"
)
OTHER_NAMES = {"modality": "kinds", "encoder": "encoders", "decoding": "method"}
FLAGS = {"resume", "overwrite", "allow_overlap", "finetune_decoder", "baselines", "optimize_threshold"}
PAIRS, LISTS = {"kinds", "encoders"}, {"finetune", "ignore", "without", "keep"}  # what their arguments are
RECORD = {field: name for name, fields in RECORDS.items() for field in fields.split()} | dict.fromkeys(PLAIN.split())
VALUE = r"'[^']*'|[^\s;:,()]*[^\s;:,().?]"
TELLING = r"(?='|[^\s;:,()]*[\d/=])"  # what comes after a space is a value where no word looks like it
OPTION = re.compile(
    rf"(?<![\w-])--(?P<no>no-)?(?P<name>[a-z][a-z-]*[a-z])(?:(?:=| {TELLING})(?P<value>{VALUE}))?(?![\w-])"
)
_typed: ContextVar[bool] = ContextVar("typed", default=False)


class InputError(ValueError):
    """The user's table, model folder or option can't be used as it is; the command line exits with 2.

    A message names options as they are typed, `--split=time`. In Python it is shown with the arguments that they are.
    """

    def __str__(self) -> str:
        text = super().__str__()
        return text if _typed.get() else as_arguments(text)


class Unreadable(ValueError):
    """One cell can't be decoded. The cell is then absent, and is counted and reported; the run goes on."""


def is_whole(value: Any, least: int) -> bool:
    """Whether an option is a whole number, from `least` on.

    >>> is_whole(3, 1), is_whole(0, 1), is_whole("3", 1), is_whole(2.5, 1)
    (True, False, False, False)
    """
    return isinstance(value, Integral) and int(value) >= least


@contextmanager
def command_line() -> Iterator[None]:
    """Within it messages name options as they are typed."""
    before = _typed.set(True)
    try:
        yield
    finally:
        _typed.reset(before)


def as_arguments(text: str) -> str:
    """A text with Python's arguments in place of the command line's options; what is no such option stays.

    >>> as_arguments("add --resume, leave --group out, or say --split=time and --modality=note=text")
    'add Run(resume=True), leave group= out, or say Columns(split="time") and Columns(kinds={"note": "text"})'
    """
    return OPTION.sub(_argument, text)


def _argument(option: re.Match[str]) -> str:
    name = option["name"].replace("-", "_")
    name = OTHER_NAMES.get(name, name)
    if name not in RECORD:
        return option[0]
    record, value = RECORD[name], option["value"]
    if name in FLAGS:
        text = f"{name}={not option['no']}"
    elif value is None:
        text = f"{name}=" + "..." * (record is not None)
    else:
        text = f"{name}={_literal(name, value.strip(chr(39)))}"
    return text if record is None else f"{record}({text})"


def _literal(name: str, value: str) -> str:
    if name in PAIRS:
        column, _, what = value.rpartition("=")
        return f'{{"{column}": "{what}"}}'
    if name in LISTS:
        return f'["{value}"]'
    return value if re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", value) else f'"{value}"'
