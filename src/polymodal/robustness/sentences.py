"""The worst of it, in plain words with the figures."""

from collections.abc import Sequence

from polymodal.evaluate.compare import FEW
from polymodal.evaluate.intervals import Interval
from polymodal.robustness.noise import MISMATCH
from polymodal.robustness.result import Absence, Noisy, Subset, worst_noise, worst_subset
from polymodal.view.text import digits, interval, list_names, not_shown

HOW = {"mcar": "completely at random", "mar": "at random, given {by}", "mnar": "not at random, by {by}"}
HALF = 0.5  # the share that the sentence about absent cells names


class Words:
    """Sentences about one metric and its clean score."""

    def __init__(self, metric: str, clean: Interval, rows: int) -> None:
        self.metric, self.clean, self.rows = metric, clean, rows

    def all(self, subsets: Sequence[Subset], absence: Sequence[Absence], noise: Sequence[Noisy]) -> list[str]:
        """One sentence each: the worst subset, the dearest modality, half of all cells, the worst noise, the worst
        mismatch; of what was measured."""
        sentences = [self.subset(subsets), self.single(subsets), self.half(absence)]
        return [s for s in [*sentences, self.noise(noise), self.mismatch(noise)] if s]

    def subset(self, subsets: Sequence[Subset]) -> str:
        """The subset that loses most."""
        x = worst_subset(subsets)
        if x is None:
            return ""
        return f"Worst of {len(subsets)} subsets: with {list_names(x.present)} alone {self._change(x.score, x.loss)}"

    def single(self, subsets: Sequence[Subset]) -> str:
        """The one modality whose absence costs most, of three or more."""
        every = subsets[0].present
        x = worst_subset([subsets[0], *(s for s in subsets if len(s.present) == len(every) - 1)])
        if x is None or len(every) < 3:
            return ""
        (loss,) = set(every) - set(x.present)
        return f"The one modality that is missed most is {loss}: without it {self._change(x.score, x.loss)}"

    def half(self, absence: Sequence[Absence]) -> str:
        """Half of all cells gone, completely at random."""
        x = next((a for a in absence if a.how == "mcar" and a.share == HALF), None)
        return f"With half of all cells gone, completely at random, {self._change(x.score, x.loss)}" if x else ""

    def noise(self, noise: Sequence[Noisy]) -> str:
        """The noise that costs most."""
        x = worst_noise(noise)
        if x is None:
            return ""
        change = self._change(x.score, x.loss)
        return f"Worst noise: {x.kind} on {x.modality} at level {x.level} ({x.severity}), where {change}"

    def mismatch(self, noise: Sequence[Noisy]) -> str:
        """The modality that is missed most when another row's stands in its place."""
        x = worst_noise(noise, mismatch=True)
        if x is None:
            return ""
        change = self._change(x.score, x.loss)
        return f"Worst {MISMATCH}: {x.modality} of another row in {x.severity}, where {change}"

    def _change(self, score: Interval, loss: Interval) -> str:
        """What becomes of the metric, and whether that can be told from clean."""
        if score.value != score.value or self.clean.value != self.clean.value:
            return f"{self.metric} is undefined on these rows."
        way = "falls" if score.value < self.clean.value else "rises" if score.value > self.clean.value else "stays"
        start = "at" if way == "stays" else f"from {digits(self.clean.value)} to"
        return f"{self.metric} {way} {start} {interval(score)}; {self._sure(loss)}."

    def _sure(self, loss: Interval) -> str:
        if self.rows < FEW:
            many = "row is" if self.rows == 1 else "rows are"
            return f"{self.rows} {many} too few to say whether that is more than chance"
        if loss.low > 0:
            return f"the loss is {interval(loss)}"
        if loss.high < 0:
            return f"that is a gain of {interval(Interval(-loss.value, -loss.high, -loss.low))}"
        return f"{not_shown('difference from clean', self.rows)}: the loss is {interval(loss)}"
