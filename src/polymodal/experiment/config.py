"""What can be asked of an experiment beside its data: records, in any order, as `config=` of the public functions.

    fit("shop.csv", "kind", config=[Search(fusion="gated"), Training(epochs=5)])

The field names of all records differ, so that a command line's options find their record by name (`records`).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, Self, TypeVar

from polymodal.data.cache import default_folder
from polymodal.errors import InputError
from polymodal.hardware import AUTO, limited
from polymodal.objectives.colearning import Colearning
from polymodal.objectives.target import Target
from polymodal.objectives.writing import Writing
from polymodal.progress import silent

P = ParamSpec("P")
T = TypeVar("T")


class Columns(NamedTuple):
    """How columns are read. kinds: by column, what to read it as ("text", "image", "number" ...). encoders: by column,
    the name of an encoder ("transformer", "bytes+gru"), or the name or folder of a pretrained network, which stays
    frozen unless the column is in `finetune`. split: how rows are parted, "random" or "time"; by default by time where
    neighbouring rows hold the same readings. order: the column that says when a row was, which asks for "time". gap:
    rows that are left out between stretches of time to train on and to validate on.
    """

    kinds: Mapping[str, str] = {}
    encoders: Mapping[str, str] = {}
    finetune: Sequence[str] = ()
    split: str | None = None
    order: str | None = None
    gap: int | None = None


SCORE, SIMPLE, FAST = PREFERENCES = ("score", "simple", "fast-predict")


class Search(NamedTuple):
    """What is tried. fusion: "auto" (networks with several fusions, and estimators on features), "features" (the
    estimators alone), or the name of a fusion; None for the default of the function. size: of networks, "tiny",
    "small", "base" or "large". baselines: of a named fusion, also train each modality alone, and concat. prefer: what a
    search chooses, "score" for the best, or within one standard error of it "simple" for what reads least and
    "fast-predict" for what predicts soonest. folds: by which a search judges estimators, the validation rows among them
    where they are held out; None for what suits the number of rows.
    """

    fusion: str | None = None
    size: str = "small"
    baselines: bool = True
    prefer: str = SCORE
    folds: int | None = None


class Training(NamedTuple):
    """How networks are trained; None for what suits the number of rows. epochs: at most so many. batch_size: rows a
    step. lr: peak learning rate. precision: "no", "bf16" or "fp16". modality_dropout: the chance that a modality of a
    row is hidden.
    """

    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    precision: str | None = None
    modality_dropout: float | None = None

    def check(self, seed: int | None) -> None:
        """Raises InputError for a setting that no training can have."""
        rules: dict[str, tuple[Callable[[Any], bool], str]] = {
            "epochs": (lambda x: x >= 1, "a whole number from 1"),
            "batch_size": (lambda x: x >= 1, "a whole number from 1"),
            "lr": (lambda x: 0 < x < float("inf"), "a finite number above 0, such as 0.001"),
            "precision": (lambda x: x in ("no", "bf16", "fp16"), "no, bf16 or fp16"),
            "seed": (lambda x: 0 <= x < 2**32, "a whole number from 0 to 4294967295"),
            "modality_dropout": (lambda x: 0 <= x < 1, "a chance from 0 to below 1"),
        }
        for name, (good, range_) in rules.items():
            value = seed if name == "seed" else getattr(self, name)
            if value is not None and not good(value):
                raise InputError(f"{name.replace('_', '-')} can't be {value!r}; it must be {range_}")


class Run(NamedTuple):
    """How the work is done and kept. resume: go on with what is in `out`. overwrite: write over it. cache: folder of
    decoded cells, by default the user's. progress: whether bars are shown; None for where a person looks on, in a
    terminal or a notebook. allow_overlap: files may be in the tables to validate and test on and in the training table
    too. command: what was typed, for who has to repeat it. n_jobs: cores that work, at most; -1 for all, None for as
    many as libraries like. device: that networks are trained on, "cpu", "cuda", "mps", or "auto" for the fastest.
    """

    resume: bool = False
    overwrite: bool = False
    cache: Path | str | None = None
    progress: bool | None = None
    allow_overlap: bool = False
    command: str = ""
    n_jobs: int | None = None
    device: str = AUTO

    @property
    def quiet(self) -> bool:
        """Whether no progress is shown."""
        return silent(self.progress)

    @property
    def cache_folder(self) -> Path:
        """Where decoded cells are kept."""
        return default_folder() if self.cache is None else Path(self.cache)


Record = Columns | Search | Training | Run | Writing | Colearning | Target
RECORDS: tuple[type[Record], ...] = (Columns, Search, Training, Run, Writing, Colearning, Target)


class Config(NamedTuple):
    """A record of each kind: those that were given, and the defaults of the others. writing: None unless given."""

    columns: Columns = Columns()
    search: Search = Search()
    training: Training = Training()
    run: Run = Run()
    writing: Writing | None = None
    colearning: Colearning = Colearning()
    target: Target = Target()

    @property
    def fusion(self) -> str:
        """What is tried; empty where none is asked for."""
        return self.search.fusion or ""

    @classmethod
    def of(cls, config: Record | Sequence[Record], verb: str, takes: Sequence[type[Record]] = RECORDS) -> Self:
        """The records by kind. Raises InputError for two of one kind, and for what the verb does not take."""
        records = [config] if isinstance(config, RECORDS) else list(config)
        by_kind: dict[str, Any] = {}
        for record in records:
            kind = type(record)
            if kind not in takes:
                names = ", ".join(r.__name__ for r in takes)
                raise InputError(f"{verb} takes no {kind.__name__} in config={record!r}; it takes records of {names}")
            if kind.__name__.lower() in by_kind:
                raise InputError(
                    f"{verb} got two records of {kind.__name__} in config; give one with all that is asked"
                )
            by_kind[kind.__name__.lower()] = record
        return cls(**by_kind)


def records(**options: Any) -> list[Record]:
    """The records of options that are given by their field names, such as those of the command line; None is not given.

    >>> records(fusion="gated", epochs=None, size="tiny")
    [Search(fusion='gated', size='tiny', baselines=True, prefer='score', folds=None)]
    """
    out = []
    for kind in RECORDS:
        if mine := {k: options.pop(k) for k in kind._fields if k in options}:
            values = {k: v for k, v in mine.items() if v is not None}
            out += [kind(**values)] if values else []
    if options:
        raise TypeError(f"no record has a field {', '.join(options)}")
    return out


def with_hardware(verb: Callable[P, T]) -> Callable[P, T]:
    """The verb, which then works with the cores and on the device that the `Run` in its config names."""

    @wraps(verb)
    def run(*args: P.args, **options: P.kwargs) -> T:
        config: Any = options.get("config", ())
        asked = next((r for r in ([config] if isinstance(config, Run) else config) if isinstance(r, Run)), Run())
        with limited(asked.n_jobs, asked.device):
            return verb(*args, **options)

    return run
