"""How a target is learned and judged, as users ask for it: the metric."""

import numpy as np
import pytest

import flat
from polymodal import InputError, load

NET = dict(fusion="concat", size="tiny", baselines=False, epochs=3)
FEATURES = dict(fusion="features", preset="fast")


def rows(n: int = 200, seed: int = 0) -> list[dict]:
    """A vector of which a label, one row in ten, and a number follow, with noise; and a number that says nothing."""
    g = np.random.default_rng(seed)
    x = g.normal(size=n)
    rare = x + g.normal(0, 0.7, n) > 1.75
    return [
        {"v": [float(a), float(a * a)], "z": float(b), "kind": "rare" if r else "usual", "size": float(a + c)}
        for a, b, c, r in zip(x, g.normal(size=n), g.normal(0, 0.5, n), rare, strict=True)
    ]


def fit(target: str = "kind", **more):
    other = {"kind": "size", "size": "kind"}[target]
    return flat.fit(rows(), target, ignore=[other], **more)


@pytest.mark.parametrize(("target", "metric", "sign"), [("kind", "log_loss", -1), ("size", "spearman", 1)])
def test_the_metric_chooses_the_epoch_and_heads_the_report(target, metric, sign, tmp_path):
    model = fit(target, metric=metric, **NET)
    best = max(sign * line[metric] for line in model.report.history)
    assert sign * model.report.valid["metrics"][metric]["value"] >= best - 0.02  # it is calibrated
    assert model.report.comparison.metric == metric == model.report.valid["metric"]
    again = load(model.save(tmp_path / "m"))
    assert again.task.metric.name == metric and again.evaluate(rows(seed=1)).metric == metric


def test_the_metric_chooses_estimators():
    model = fit("size", metric="mae", **FEATURES)
    scores = [c.score.value for c in model.report.comparison.candidates]
    assert model.report.comparison.metric == "mae" and scores[0] == min(scores) < 0.8 * max(scores)


def test_a_run_is_not_resumed_by_another_metric(tmp_path):
    fit(metric="roc_auc", out=tmp_path / "m", **NET)
    with pytest.raises(InputError, match=r"can't be resumed: metric \(it was 'roc_auc'\) changed"):
        fit(out=tmp_path / "m", resume=True, **NET)
    assert fit(metric="roc_auc", out=tmp_path / "m", resume=True, **NET).task.measure == "roc_auc"


def test_the_same_metric_compares():
    found = flat.run(rows(), "kind", ignore=["size"], fusion=["features"], folds=2, preset="fast", metric="roc_auc")
    assert found.problem.task.metric.name == found.settings["metric"] == "roc_auc"
