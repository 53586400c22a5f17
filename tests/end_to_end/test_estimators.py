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


def test_rows_are_told_by_their_place_whatever_the_index(frame):
    (x, folder) = frame
    y = x["kind"]
    x = x.drop(columns="kind").set_index(np.arange(len(x))[::-1] // 2)  # doubled, and not in order
    model = make(folder, ignore=["photo"])
    fitted = model.fit(x, y)
    p = fitted.predict_proba(x)
    assert np.array_equal(p, model.fit(x.reset_index(drop=True), y.tolist()).predict_proba(x.reset_index(drop=True)))
    assert np.allclose(fitted.predict_proba(x.iloc[::-1]), p[::-1], atol=1e-5)
