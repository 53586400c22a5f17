"""`--optimize-threshold`: thresholds of decisions, for the model and for all that it is compared with.

They are chosen by the answers that a candidate was judged by, which are not calibrated; the model's own are then those
of its calibrated probabilities. Candidates are compared as each decides at thresholds that other rows chose.
"""

import copy
from typing import NamedTuple

import numpy as np

from polymodal.experiment.candidates import Judgement, Trial, ValidationSet
from polymodal.output import Output, Scores, logits_of
from polymodal.tasks.base import Task
from polymodal.tasks.labels import key
from polymodal.uncertainty.threshold import Tuned, tune
from polymodal.view.text import digits, many, short

LABELS = 10  # whose thresholds a note names


class Decider(NamedTuple):
    """What thresholds make of the answers of trials. rows: to validate on, by a task that decides at one half. is_on:
    where it is False, answers stay as they are."""

    rows: ValidationSet
    is_on: bool

    @classmethod
    def of(cls, rows: ValidationSet, is_on: bool) -> "Decider":
        """For a model that validates on these rows."""
        return cls(rows._replace(task=copy.copy(rows.task)), is_on)

    def compared(self, output: Output, rows: ValidationSet) -> Output:
        """Answers by which candidates are compared."""
        return tune(self.rows.task, output, rows.target, rows.groups).output if self.is_on else output

    def judged(self, trial: Trial) -> Trial:
        """The trial with answers by which it is chosen or not."""
        if not self.is_on:
            return trial
        more = trial.everywhere
        return trial._replace(
            judged=self.compared(trial.judged, self.rows),
            everywhere=more and more._replace(output=self.compared(more.output, more.rows)),
        )

    def of_others(self, trial: Trial, output: Output) -> Output:
        """Answers to rows that nothing was chosen by, moved so that the trial's thresholds are one half; if `is_on`."""
        return Scores(self.rows.task.moved(logits_of(output), self._tuned(trial).log_odds))

    def settle(self, task: Task, trial: Trial, temperature: float) -> tuple[dict[str, float] | None, list[str]]:
        """Let the model's task decide at the trial's thresholds from now on: by label, and a note for a person."""
        if not self.is_on:
            return None, []
        tuned = self._tuned(trial)
        rows = many(int(self._judgement(trial).rows.target.present().sum()), "row")
        name, half = task.metric.name, f"{digits(tuned.before)} at one half"
        if not tuned.log_odds.any():
            return None, [f"decided at one half: on {rows} no other threshold has a better {name} than {half}"]
        task.thresholds_ = (1 / (1 + np.exp(-tuned.log_odds / temperature))).tolist()
        labels = [key(x) for x in task.labels_[-len(tuned.log_odds) :]]
        thresholds = dict(zip(labels, task.thresholds_, strict=True))
        examples = ", ".join(f"{short(x, 30)} above {t:.3g}" for x, t in list(thresholds.items())[:LABELS])
        more = f" and {len(labels) - LABELS} more" * (len(labels) > LABELS)
        gain = f"{name} on {rows} is {digits(tuned.after)}, by thresholds that other rows chose, and {half}"
        return thresholds, [f"decided for {examples}{more}: {gain}"]

    def _judgement(self, trial: Trial) -> Judgement:
        return trial.everywhere or Judgement(trial.judged, self.rows)

    def _tuned(self, trial: Trial) -> Tuned:
        judgement = self._judgement(trial)
        return tune(self.rows.task, judgement.output, judgement.rows.target, judgement.rows.groups)
