"""From a model and a table to the whole answer: the grid of subsets, cells removed, noise, and what follows.

table -> labelled rows, at most `limit` -> encoded once -> subsets, shares of cells      (cells hidden)
                                                        -> noise (cells spoiled, encoded again) -> areas, sentences
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polymodal import objectives
from polymodal.data.table import Table
from polymodal.errors import InputError
from polymodal.modalities import MODALITIES
from polymodal.modalities.noise import Noise
from polymodal.model import Model
from polymodal.output import Output
from polymodal.progress import Ticker, bar, silent
from polymodal.robustness.absent import SHARES, Guide, at_random, by_target, remove, subsets
from polymodal.robustness.measure import EXACT, Reader, Sample, Scorer, Source, interval, mean
from polymodal.robustness.noise import MISMATCH
from polymodal.robustness.result import Absence, Noisy, Robustness, Subset, areas
from polymodal.robustness.sentences import Words
from polymodal.view.text import Note

SEEDS = 3  # drawings of which cells go, whose scores are averaged
LIMIT, TEXTS = 1000, 100  # rows; of a model that writes texts, each of which is searched for word by word
AGAINST = (
    "effective robustness needs a late fusion beside the model: polymodal fit TABLE --target COLUMN --fusion late-mean "
    "--out late, then --against late"
)


Key = tuple[str, str]  # modality and kind of noise


class Curve(NamedTuple):
    """One kind of noise on one modality."""

    modality: str
    kind: str
    noise: Noise | None  # None: another row's


def robustness(
    model: Model,
    table: Any,
    *,
    against: Model | None = None,
    noise: bool = True,
    kinds: Sequence[str] = (),
    levels: int = 5,
    limit: int = LIMIT,
    seed: int = 0,
    given: str | None = None,
    cache: Path | str | None = None,
    progress: bool | None = None,
) -> Robustness:
    """What becomes of a model's score as modalities are absent, cells are removed, and cells are spoiled.

    table: a path, a DataFrame, a list of dicts; it needs the target. against: a late fusion that is scored on the same
    noise, for effective robustness. kinds: the noise to try, "blur" or "photo=blur" [default: all]. levels: of each
    noise, the clean one included. limit: rows, drawn by `seed` from those that have a label. given: the column by which
    cells are removed at random. Raises InputError where the table or an option can't be used.
    """
    if levels < 2 or limit < 1 or seed < 0:
        raise InputError(f"levels {levels}, limit {limit}, seed {seed}: expected at least 2, 1 and 0")
    cache = None if cache is None else Path(cache)
    table, notes = _draw(model, Table.read(table), limit, seed)
    quiet = silent(progress)
    study = Study(model, table, cache, seed, quiet)
    other = None if against is None else _rival(study, against, cache)
    notes += study.remarks() + ([] if other is None else _late(other.reader.model))
    curves = study.curves(kinds) if noise else []
    with bar("robustness", study.work() + len(curves) * (levels - 1), quiet) as tick:
        study.tick = tick
        grid, absence = study.grid(), study.absence(given, notes)
        noisy = [x for c in curves for x in study.noise(c, levels, other)]
    clean = interval(study.clean)
    metric = study.scorer.metric
    return Robustness(
        task=model.task.name,
        metric=metric.name,
        higher=metric.higher,
        modalities=study.reader.modalities,
        rows=table.rows,
        group=model.preprocessor.schema.group if study.scorer.groups is not None else None,
        seed=seed,
        levels=levels,
        clean=clean,
        subsets=grid,
        absence=absence,
        noise=noisy,
        relative=areas(study.scores, metric.higher),
        effective=None if other is None else areas(study.scores, metric.higher, other.scores),
        against=None if other is None else other.reader.model.learner.kind,
        sentences=Words(metric.name, clean, table.rows).all(grid, absence, noisy),
        notes=notes + ([Note("", AGAINST)] if other is None and noisy and len(model.modalities) > 1 else []),
        bad=list(study.reader.rows.bad),
    )


def _draw(model: Model, table: Table, limit: int, seed: int) -> tuple[Table, list[Note]]:
    """At most `limit` rows that have a label, drawn by the seed, in the table's order; and what to say of that."""
    schema = model.preprocessor.schema
    table = objectives.of(model.task).rows(table, schema)
    model.preprocessor.check(table)
    labels = model.preprocessor.labels(table, model.task, need=True)
    labelled_rows = [i for i, y in enumerate(labels) if y is not None]
    if not labelled_rows:
        raise InputError(
            f"none of the {table.rows:,} rows has a label in {', '.join(schema.target)!r}, so there is nothing to "
            "score; robustness needs a table with the target"
        )
    most = min(limit, TEXTS) if "decode" in model.task.capabilities else limit
    others = table.rows - len(labelled_rows)
    notes = [Note(f"{others:,} rows without a label were left out")] if others else []
    if len(labelled_rows) > most:
        why = ", since each text is searched for word by word" if most < limit else ""
        way = "" if most < limit else "--limit asks for more or fewer"
        notes.append(Note(f"{most:,} of {len(labelled_rows):,} rows, drawn by seed {seed}{why}", way))
        labelled_rows = sorted(np.random.default_rng(seed).permutation(labelled_rows)[:most].tolist())
    return table.take(labelled_rows), notes


class Rival(NamedTuple):
    """A model to compare with, on the same rows and bootstrap samples, and its scores under noise, by curve."""

    reader: Reader
    scorer: Scorer
    clean: Sample
    scores: dict[Key, list[Sample]]


def _rival(study: "Study", against: Model, cache: Path | None) -> Rival:
    model, table = study.reader.model, study.reader.table
    mine, theirs = model.preprocessor.schema.target, against.preprocessor.schema.target
    if mine != theirs or model.task.metric != against.task.metric:
        raise InputError(
            f"--against is a model of {', '.join(theirs)} ({against.task.name}, scored by {against.task.metric.name}), "
            f"but this one is of {', '.join(mine)} ({model.task.name}, scored by {model.task.metric.name}); fit a "
            "late fusion for the same target"
        )
    reader = Reader(against, table, cache, quiet=True)
    scorer = Scorer(against.task, reader.rows.target(range(table.rows)), study.scorer.groups)
    return Rival(reader, scorer, scorer.sample(reader.pattern((True,) * len(reader.modalities))), {})


def _late(against: Model) -> list[Note]:
    """A remark where the model to compare with is a network that fuses earlier."""
    fusion = against.learner.fused_by()
    if fusion is None or fusion.is_late:
        return []
    how = type(fusion).__name__
    return [Note(f"effective robustness is defined against a late fusion, but the model of --against fuses by {how}")]


class Study:
    """One model on one set of rows, and each part of its robustness."""

    def __init__(self, model: Model, table: Table, cache: Path | None, seed: int, quiet: bool) -> None:
        self.reader, self.seed = Reader(model, table, cache, quiet), seed
        group = model.preprocessor.schema.group
        groups = table.cells(group) if group in table.columns else None
        self.scorer = Scorer(model.task, self.reader.rows.target(range(table.rows)), groups)
        self.all = (True,) * len(self.reader.modalities)
        self.clean = self.scorer.sample(self.reader.pattern(self.all))
        self.sources: dict[str, Source] = {}
        self.scores: dict[Key, list[Sample]] = {}  # of each curve, level by level
        self.tick: Ticker = lambda done, note="": None
        self.done = 0

    def _step(self, note: str) -> None:
        self.done += 1
        self.tick(self.done, note)

    def work(self) -> int:
        """How many scores the grid and the removed cells take."""
        one = len(self.all) < 2
        return 1 if one else len(subsets(len(self.all), self.seed)) + 3 * SEEDS * (len(SHARES) - 1)

    def remarks(self) -> list[Note]:
        """What a reader of the grid must know."""
        names, here = self.reader.modalities, self.reader.here
        out: list[Note] = []
        if len(names) == 1:
            out.append(
                Note(f"the model reads {names[0]} alone, so that absence can't be measured: nothing would be left")
            )
        if len(names) > EXACT:
            n_noises = len(subsets(len(names), self.seed))
            of = 2 ** len(names) - 1
            out.append(Note(f"{n_noises} of the {of:,} subsets of {len(names)} modalities, drawn by the seed"))
        out += [Note(f"{m} is absent from every row") for i, m in enumerate(names) if not here[:, i].any()]
        return out

    def grid(self) -> list[Subset]:
        """Every subset, all modalities first."""
        out = []
        for keep in subsets(len(self.all), self.seed):
            x = self.clean if keep == self.all else self.scorer.sample(self.reader.pattern(keep))
            present = [m for m, k in zip(self.reader.modalities, keep, strict=True) if k]
            patterns = int((self.reader.here & np.array(keep)).any(1).sum())
            out.append(Subset(present, interval(x), self.scorer.loss(x, self.clean), self.scorer.rows, patterns))
            self._step(" + ".join(present))
        return out

    def absence(self, given: str | None, notes: list[Note]) -> list[Absence]:
        """Shares of cells removed, in three ways; none of a model with one modality."""
        if len(self.all) < 2:
            return []
        guide = at_random(self.reader, given)
        if guide is None:
            why = "nothing that stays differs by row"
            notes.append(Note(f"cells can't be removed at random given a column (mar): {why}"))
        elif guide.stays is not None:
            of = "shares are of the other modalities' cells"
            notes.append(Note(f"mar: by {guide.by}, so that {guide.stays} stays; {of}"))
        ways = {"mcar": Guide("", np.zeros(self.scorer.rows)), "mar": guide, "mnar": by_target(self.reader)}
        return [self._removed(how, g, share) for how, g in ways.items() if g is not None for share in SHARES]

    def _removed(self, how: str, guide: Guide, share: float) -> Absence:
        here, names = self.reader.here, self.reader.modalities
        rank_nm = np.repeat(guide.rank_n[:, None], len(names), axis=1)
        samples, empty = [], []
        for i in range(SEEDS if share else 1):
            away = remove(here, share, rank_nm, self.seed * SEEDS + i, guide.stays_m(names))
            samples.append(self.scorer.sample(self.reader.mixed(~away)) if share else self.clean)
            empty.append(float((~(here & ~away).any(1)).mean()))
            if share:
                self._step(f"{how} {share:.0%}")
        x = mean(samples)
        loss = self.scorer.loss(x, self.clean)
        by = guide.by + ("" if guide.stays is None else f" ({guide.stays} stays)")
        return Absence(
            how, by, share, interval(x), loss, self.scorer.rows, round(float(np.mean(empty)), 6), len(samples)
        )

    def curves(self, kinds: Sequence[str]) -> list[Curve]:
        """The kinds of noise that apply. Raises InputError for one that is asked for and is none of this model's."""
        curves_of, lacking = [], {}
        for i, m in enumerate(self.reader.modalities):
            here = int(self.reader.here[:, i].sum())
            if not here:
                continue
            source = self.sources[m] = Source(self.reader, m)
            for name, noise in ({} if source.noise is None else source.noise.kinds).items():
                if why := noise.lacks(source.context):
                    lacking[f"{m}={name}"] = why
                else:
                    curves_of.append(Curve(m, name, noise))
            if here > 1:
                curves_of.append(Curve(m, MISMATCH, None))
            else:
                lacking[f"{m}={MISMATCH}"] = "no other row has it"
        return _asked(curves_of, kinds, lacking)

    def noise(self, curve: Curve, levels: int, other: Rival | None) -> Iterator[Noisy]:
        """A curve, level by level; its scores, and the rival's, are kept for the areas."""
        mine = self.scores[curve[:2]] = [self.clean]
        theirs = [] if other is None else other.scores.setdefault(curve[:2], [other.clean])
        for level in range(levels):
            place, notes = level / (levels - 1), "clean"
            if level:
                answers, notes = self._spoiler(curve, place)
                mine.append(self.scorer.sample(answers(self.reader, curve.modality)))
                if other is not None:
                    m = _same(self.reader, other.reader, curve.modality)
                    # a model that does not read the modality answers as it did
                    theirs.append(theirs[0] if m is None else other.scorer.sample(answers(other.reader, m)))
                self._step(f"{curve.modality}: {curve.kind}")
            loss = self.scorer.loss(mine[level], self.clean)
            yield Noisy(*curve[:2], level, notes, place, interval(mine[level]), loss, self.scorer.rows)

    def _spoiler(self, curve: Curve, place: float) -> tuple[Callable[[Reader, str], Output], str]:
        """What a model answers when its modality of this name is spoiled, and how much that is in words."""
        if curve.noise is None:
            rows, words = self._mismatched(curve.modality, place)
            return lambda reader, m: reader.moved(m, rows), words
        source, noise = self.sources[curve.modality], curve.noise
        severity = noise.severity(place)

        def cells(clean: Sequence[Any]) -> Iterator[Any]:
            return source.noisy(curve.kind, noise, severity, self.seed, clean)

        return lambda reader, m: reader.changed(m, cells), noise.said.format(severity)

    def _mismatched(self, modality: str, share: float) -> tuple[NDArray[np.intp], str]:
        """(N,) whose modality each row gets, and how many get another's.

        Of the rows that have it, a share (at least two rows) pass theirs around in a ring: none of them keeps its own,
        each cell is used once, and the rows of a small share are among those of a larger one.
        """
        here = np.flatnonzero(self.reader.here[:, self.reader.modalities.index(modality)])
        rng = np.random.default_rng([self.seed, len(modality), *modality.encode("utf-8", "surrogatepass")])
        ring = rng.permutation(here)[: max(2, round(share * len(here)))]
        places = np.arange(self.scorer.rows)
        places[ring] = np.roll(ring, -1)
        return places, f"{len(ring) / len(places):.0%} of the rows"


def _asked(by_kind: list[Curve], kinds: Sequence[str], lacking: dict[str, str]) -> list[Curve]:
    """The curves that `kinds` name, all where it names none."""
    if not kinds:
        return by_kind
    out = []
    for names in dict.fromkeys(kinds):
        selection = [c for c in by_kind if names in (c.kind, f"{c.modality}={c.kind}")]
        if not selection:
            kinds_ = ", ".join(dict.fromkeys([c.kind for c in by_kind]))
            why = next((f" ({w})" for k, w in lacking.items() if names in (k, k.rpartition("=")[2])), "")
            raise InputError(f"no noise {names!r} for this model{why}; it is one of {kinds_}, or COLUMN=KIND")
        out += [c for c in selection if c not in out]
    return out


def _same(mine: Reader, theirs: Reader, modality: str) -> str | None:
    """The modality of another model that reads the same column in the same way; None where it reads none."""
    kind = mine.model.preprocessor.schema.modalities()[modality][0]
    pairs, together = theirs.model.preprocessor.schema.modalities(), MODALITIES[kind].columns
    return next((m for m in theirs.modalities if pairs[m][0] == kind and (together or m == modality)), None)
