"""The training rows that the model finds most like a row, where the training table is at hand."""

from typing import Any, NamedTuple

from polymodal.data.table import Table
from polymodal.errors import InputError
from polymodal.report.blocks import Block, Facts, small
from polymodal.report.looks import short, tail
from polymodal.report.sample import sampled
from polymodal.report.study import Study

WORDS = ("text", "tabular")  # kinds whose cells say something by themselves
MOST = 2000  # training rows that are looked at


class Nearby(NamedTuple):
    """At most `MOST` rows of a training table of `total`."""

    table: Table
    total: int

    def blocks(self, study: Study, row: int) -> list[Block]:
        """The nearest rows by all modalities together, and the nearest of another label."""
        from polymodal.explain.nearest import nearest

        said: Any = study.model.task.decode(study.logits[[row]]).get("prediction", [None])[0]
        same = study.table.row_number(row) if self.table.name == study.name else None
        one = study.rows.take([row])
        try:
            found = nearest(study.model, one, said, self.table, skip=same, cache=study.cache, quiet=True)
        except InputError as e:
            return [small(f"No nearest training rows: {short(e, 200)}")]
        if not found.spaces:
            return []
        space = found.spaces[0]
        every = [*((n, "") for n in space.nearest), *([(space.other, "another label")] if space.other else [])]
        facts = []
        for n, why in every:
            held = [(m, short(c.text, 60) if c.kind in WORDS else tail(c.text)) for m, c in n.cells.items() if c.text]
            cells = "; ".join(f"{short(m, 20)}: {text}" for m, text in held[:3])
            label = f"label {short(n.label or '(none)', 40)}{f', the nearest of {why}' if why else ''}"
            facts.append((f"training row {n.row}", f"{label}, distance {n.distance:.3f}; {cells}"))
        of = f"{found.rows:,} of {self.total:,}" if found.rows < self.total else f"{self.total:,}"
        return [small(f"Nearest of {of} training rows, by {found.by} (cosine distance)"), Facts(facts)]


def nearby(study: Study, train: Any) -> Nearby:
    """Read a training table. Raises InputError where the model can't read it."""
    prep = study.model.preprocessor
    found = sampled(train, prep.schema, study.model.task, MOST, study.seed)
    prep.check(found.table)
    return Nearby(found.table, found.rows)
