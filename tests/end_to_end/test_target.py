"""How a target is learned and judged, as users ask for it: the metric, weights of rows and of labels, thresholds."""

import numpy as np
import pandas as pd
import pytest

import flat
from polymodal import InputError, load
from polymodal.experiment.ranking import standing

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


def test_the_same_options_compare():
    how = dict(ignore=["size"], fusion=["features"], folds=2, preset="fast", metric="roc_auc", weight="w")
    found = flat.run(contradicted(), "kind", **how)
    assert (found.settings["metric"], found.settings["weight"]) == ("roc_auc", "w")
    assert standing(found).metric == "roc_auc"


# --- weights ------------------------------------------------------------------------------------------


def contradicted(n: int = 160, weight: float = 0.0) -> list[dict]:
    """Of two rows one has the wrong label and number, and this weight."""
    g = np.random.default_rng(0)
    x, wrong = g.normal(size=n), np.arange(n) % 2 == 1
    return [
        {"x": float(a), "z": float(b), "kind": "up" if (a > 0) != w else "down", "size": float(-a if w else a),
         "w": weight if w else 3.0}
        for a, b, w in zip(x, g.normal(size=n), wrong, strict=True)
    ]  # fmt: skip


@pytest.mark.parametrize("how", [{**NET, "epochs": 12, "lr": 0.01}, FEATURES], ids=["network", "features"])
@pytest.mark.parametrize(("target", "metric"), [("kind", "accuracy"), ("size", "r2")])
def test_rows_of_weight_zero_are_neither_learned_from_nor_scored(how, target, metric, tmp_path):
    table, ignore = contradicted(), [{"kind": "size", "size": "kind"}[target]]
    model = flat.fit(table, target, ignore=ignore, weight="w", **how)
    assert "w" not in {c for _, columns in model.preprocessor.schema.modalities().values() for c in columns}
    assert model.report.valid["weight"] == "w" and model.report.valid["metrics"][metric]["value"] > 0.8
    again = load(model.save(tmp_path / "m"))
    plain = [{k: v for k, v in row.items() if k != "w"} for row in table]
    weighted, alike = again.evaluate(table), again.evaluate(plain)
    assert weighted.weight == "w" and weighted.metrics[metric].value > 0.8
    assert alike.weight is None and alike.metrics[metric].value < 0.6
    pd.testing.assert_frame_equal(again.predict(plain), again.predict(table))


def test_weights_in_other_units_make_the_same_model():
    table = contradicted(weight=1.0)
    models = [
        flat.fit([{**row, "w": row["w"] * unit} for row in table], "kind", ignore=["size"], weight="w", **how)
        for how in (NET, FEATURES)
        for unit in (1.0, 1000.0)
    ]
    p = [m.predict(table)["probability[up]"].to_numpy() for m in models]
    assert p[0] == pytest.approx(p[1], abs=1e-4) and p[2] == pytest.approx(p[3], abs=1e-4)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"w": [1, -2]}, r"row 2, column 'w': -2 is no weight; a weight is a number from 0"),
        ({"w": [1, None]}, r"row 2, column 'w': the cell is empty; a weight"),
        ({"w": ["much", 1]}, r"row 1, column 'w': 'much' is no weight"),
        ({"w": [0, 0]}, r"all \d+ training rows have the weight 0 in 'w'"),
        ({"v": [1, 2]}, r"has no column 'w'"),
    ],
)
def test_a_weight_that_is_none_is_refused(cells, said):
    frame = pd.DataFrame({"x": np.sin(range(40)), "y": ["a", "b"] * 20, **{k: v * 20 for k, v in cells.items()}})
    with pytest.raises(InputError, match=said):
        flat.fit(frame, "y", weight="w", **NET)


def test_weights_are_of_labels_and_numbers_in_a_column_of_their_own():
    with pytest.raises(InputError, match="'kind' says how much rows count; it can't be something else too"):
        flat.fit(rows(), "kind", weight="kind", **NET)
    frame = pd.DataFrame(rows())
    with pytest.raises(
        InputError, match="--weight can't be a Series; put the weights in a column of the table, and na"
    ):
        flat.fit(frame, "kind", weight=frame["size"], **NET)
    with pytest.raises(InputError, match="--weight weighs rows of a label or a number; this target is text"):
        flat.fit(contradicted(), "kind", weight="w", task="generate", **NET)
    with pytest.raises(InputError, match="has no column 'w', which weighs rows"):
        flat.fit(contradicted(), "kind", weight="w", valid=rows(40), ignore=["size"], **NET)


# --- weights of classes -------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{**NET, "epochs": 15, "lr": 0.01}, FEATURES], ids=["network", "features"])
def test_balanced_classes_are_found_more_often(how):
    table, found = rows(600, seed=1), []
    for weights in ("none", "balanced"):
        model = flat.fit(rows(), "kind", ignore=["size", "z"], class_weight=weights, metric="balanced_accuracy", **how)
        found.append(model.evaluate(table).metrics["balanced_accuracy"].value)
    assert found[1] > found[0] + 0.1


def test_weights_of_labels_that_can_not_be_are_refused():
    with pytest.raises(InputError, match="--class-weight can't be 'equal'; it is one of balanced, none"):
        fit(class_weight="equal", **NET)
    with pytest.raises(InputError, match="the weight of the label 'rare' can't be -1; it is a number from 0"):
        fit(class_weight={"rare": -1}, **NET)
    with pytest.raises(
        InputError, match="name the label 'rair', which no training row has; the labels are 'rare', 'us"
    ):
        fit(class_weight={"rair": 2}, **NET)
    with pytest.raises(InputError, match="--class-weight weighs labels, and the task regression has none"):
        fit("size", class_weight="balanced", **NET)


# --- thresholds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{**NET, "epochs": 15, "lr": 0.01}, FEATURES], ids=["network", "features"])
def test_a_threshold_is_chosen_kept_and_decided_by(how, tmp_path):
    new = rows(600, seed=1)
    settings = dict(ignore=["size", "z"], class_weight="none", metric="balanced_accuracy", test=new, **how)
    half, model = (flat.fit(rows(), "kind", optimize_threshold=o, **settings) for o in (False, True))
    scores = [m.report.test.scores["metrics"] for m in (half, model)]
    assert scores[1]["balanced_accuracy"]["value"] > scores[0]["balanced_accuracy"]["value"] + 0.1
    assert scores[1]["log_loss"] == scores[0]["log_loss"], "probabilities stay as they are"
    ((label, cut),) = model.report.thresholds.items()
    (note,) = (n for n in model.report.notes if n.startswith("decided for usual above"))
    assert label == "usual" and cut > 0.6 and "by thresholds that other rows chose" in note
    ours, theirs = (m.report.test.comparison.candidates[0].score.value for m in (model, half))
    assert ours == pytest.approx(scores[1]["balanced_accuracy"]["value"]) and ours > theirs
    gain = [m.report.comparison.candidates[0].score.value for m in (half, model)]
    assert gain[1] > gain[0] and half.report.thresholds is None
    again = load(model.save(tmp_path / "m"))
    answers = again.predict(new)
    assert ((answers["probability[usual]"] > cut) == (answers["prediction"] == "usual")).all()
    assert again.evaluate(new).to_json()["metrics"] == scores[1]


def test_what_is_best_at_its_own_threshold_is_chosen():
    model = fit(metric="balanced_accuracy", class_weight="none", optimize_threshold=True, **FEATURES)
    scores = {c.name: c.score.value for c in model.report.comparison.candidates}
    assert len(scores) == 8 and max(scores.values()) == next(iter(scores.values())) > 0.8
    assert f"chosen: {next(iter(scores))} {max(scores.values()):.3f}" in model.report.notes[-2]


def test_each_label_of_a_set_has_a_threshold():
    g = np.random.default_rng(0)
    x = g.normal(size=(300, 2))
    tags = (x + g.normal(0, 0.7, x.shape) > [1.5, 0.0]).tolist()
    table = [{"v": list(map(float, v)), "tags": [n for n, yes in zip("ab", t, strict=True) if yes]}
             for v, t in zip(x, tags, strict=True)]  # fmt: skip
    how = dict(metric="macro_f1", class_weight="none", kinds={"v": "vector"}, preset="fast", fusion="features")
    half, model = (flat.fit(table[:200], "tags", optimize_threshold=o, test=table[200:], **how) for o in (False, True))
    assert model.report.thresholds["a"] < 0.45 and set(model.report.thresholds) == {"a", "b"}
    f1 = [m.report.test.scores["metrics"]["macro_f1"]["value"] for m in (half, model)]
    assert f1[1] > f1[0]
    found = model.predict(table[200:])
    assert [("a" in p) for p in found["prediction"]] == (
        found["probability[a]"] > model.report.thresholds["a"]
    ).tolist()


def test_thresholds_of_what_has_none_are_refused():
    for more, said in (
        ({"metric": "roc_auc"}, "needs a metric of decisions, and roc_auc is none; add --metric with one of accuracy"),
        ({"target": "size"}, "is for two labels, or sets of them, and the task is regression"),
    ):
        with pytest.raises(InputError, match=said):
            fit(**{**more, **NET}, optimize_threshold=True)
