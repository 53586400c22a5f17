"""The scikit-learn estimators do what scikit-learn's own do."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from conftest import make_shop
from polymodal import InputError, MultimodalClassifier, MultimodalRegressor


@pytest.fixture(scope="module")
def frame(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, str]:
    table = make_shop(tmp_path_factory.mktemp("e") / "shop", 90)
    return pd.read_csv(table).drop(columns="id"), str(table.parent)


def make(folder: str, **more) -> MultimodalClassifier:
    return MultimodalClassifier(folder=folder, **{"fusion": "gated", "size": "tiny", "epochs": 3, **more})


def test_classifier(frame):
    (x, folder) = frame
    y = x.pop("kind")
    model = make(folder).fit(x, y)
    assert model.classes_.tolist() == ["good", "poor"]
    p = model.predict_proba(x)
    assert p.shape == (90, 2) and np.allclose(p.sum(1), 1, atol=1e-5)
    assert (model.predict(x) == model.classes_[p.argmax(1)]).all()
    assert 0 <= model.score(x, y) <= 1
    x["kind"] = y


def test_cross_validation_clone_and_grid(frame):
    (x, folder) = frame
    x, y = x.drop(columns="kind"), x["kind"]
    model = make(folder)
    assert clone(model).get_params() == model.get_params()
    assert cross_val_score(model, x, y, cv=2).shape == (2,)
    pipe = Pipeline([("drop", FunctionTransformer(lambda f: f.drop(columns="seller"))), ("fit", model)])
    grid = GridSearchCV(pipe, {"fit__fusion": ["concat", "mean"]}, cv=2).fit(x, y)
    assert grid.best_params_["fit__fusion"] in ("concat", "mean")
    assert "seller" not in grid.best_estimator_[-1].feature_names_in_


def test_numeric_labels_keep_their_type(frame):
    (x, folder) = frame
    y = (x["kind"] == "good").to_numpy().astype(int)
    got = make(folder, ignore=["photo"]).fit(x.drop(columns="kind"), y).predict(x)
    assert got.dtype == y.dtype and set(got) <= {0, 1}


def test_regressor(frame):
    (x, folder) = frame
    y = np.log(x["price"].to_numpy())
    model = MultimodalRegressor(folder=folder, fusion="gated", size="tiny", epochs=3).fit(
        x.drop(columns=["price", "kind"]), y
    )
    got = model.predict(x)
    assert got.shape == (90,) and np.isfinite(got).all() and abs(got.mean() - y.mean()) < 1


def test_labels_are_found_whatever_their_spelling(frame):
    (x, folder) = frame
    y = np.where(x["kind"] == "good", " good", "poor ")
    p = make(folder, ignore=["photo"]).fit(x.drop(columns="kind"), y).predict_proba(x)
    assert np.allclose(p.sum(1), 1, atol=1e-5)


def test_errors(frame):
    (x, folder) = frame
    with pytest.raises(InputError, match="give a DataFrame"):
        make(folder).fit(np.zeros((4, 2)), [0, 1, 0, 1])
    with pytest.raises(InputError, match="no label in 1 rows, the first at position 2"):
        make(folder).fit(x, ["a", "b", None, *"ab" * 43, "a"])
    with pytest.raises(InputError, match="one label for each of the 90 rows"):
        make(folder).fit(x, [0, 1])


def test_metric_class_weight_threshold_and_sample_weight():
    g = np.random.default_rng(0)
    x = pd.DataFrame({"a": g.normal(size=160)})
    wrong = np.arange(160) % 2 == 1
    y = np.where((x["a"] > 1.0) != wrong, "yes", "no")
    how = dict(
        fusion="features", preset="fast", metric="balanced_accuracy", class_weight="none", optimize_threshold=True
    )
    model = clone(MultimodalClassifier(**how)).fit(x, y, sample_weight=np.where(wrong, 0.0, 1.0))
    assert (model.predict(x) == np.where(x["a"] > 1.0, "yes", "no")).mean() > 0.9
    assert model.model_.task.metric.name == "balanced_accuracy" and model.n_features_in_ == 1
    if cuts := model.model_.report.thresholds:
        assert ((model.predict_proba(x)[:, 1] > cuts["yes"]) == (model.predict(x) == "yes")).all()
    number = MultimodalRegressor(fusion="features", preset="fast").fit(
        x, np.where(wrong, -x["a"], x["a"]), sample_weight=1.0 - wrong
    )
    assert number.score(x[~wrong], x["a"][~wrong]) > 0.9


def test_rows_are_told_by_their_place_whatever_the_index(frame):
    (x, folder) = frame
    y = x["kind"]
    x = x.drop(columns="kind").set_index(np.arange(len(x))[::-1] // 2)  # doubled, and not in order
    model = make(folder, ignore=["photo"])
    fitted = model.fit(x, y)
    p = fitted.predict_proba(x)
    assert np.array_equal(p, model.fit(x.reset_index(drop=True), y.tolist()).predict_proba(x.reset_index(drop=True)))
    assert np.allclose(fitted.predict_proba(x.iloc[::-1]), p[::-1], atol=1e-5)
