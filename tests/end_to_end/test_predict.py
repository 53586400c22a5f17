"""Prediction: one row a row, in order, whatever is absent; hidden is the same as empty."""

from pathlib import Path

import pandas as pd
import pytest

import flat
import polymodal
from conftest import make_shop
from polymodal import model as model_file
from polymodal.errors import InputError
from polymodal.model import Model


@pytest.fixture(scope="module")
def shop_and_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, Path, Model]:
    folder = tmp_path_factory.mktemp("predict")
    table = make_shop(folder / "shop", 160)
    return (
        pd.read_csv(table),
        table.parent,
        flat.fit(table, "kind", fusion="gated", epochs=12, size="tiny", baselines=False),
    )


def read(frame: pd.DataFrame, folder: Path) -> polymodal.Table:
    return polymodal.Table.read(frame, folder=folder)


def test_rows_do_not_depend_on_their_neighbours(shop_and_model, monkeypatch):
    frame, folder, model = shop_and_model
    whole = model.predict(read(frame, folder))
    assert len(whole) == len(frame) and set(whole["prediction"]) <= {"good", "poor"}
    monkeypatch.setattr(model_file, "CHUNK", 7)
    monkeypatch.setattr(model_file, "BATCH", 3)
    parts = model.predict(read(frame, folder))
    pd.testing.assert_frame_equal(whole, parts, rtol=1e-4, atol=1e-5)
    order = list(reversed(range(len(frame))))
    turned = model.predict(read(frame.iloc[order], folder))
    pd.testing.assert_frame_equal(whole.iloc[order].reset_index(drop=True), turned, rtol=1e-4, atol=1e-5)


def test_a_frame_gives_its_index_to_its_predictions_and_what_is_kept(shop_and_model, monkeypatch):
    frame, folder, model = shop_and_model
    monkeypatch.chdir(folder)
    monkeypatch.setattr(model_file, "CHUNK", 7)
    order = list(reversed(range(20)))
    part = frame.iloc[order].set_index("id", drop=False).assign(bought=pd.array([None, *range(19)], "Int64"))
    got = model.predict(part, keep=["id", "seller", "price", "bought"])
    assert got.index.equals(part.index) and list(got.columns[:5]) == ["id", "seller", "price", "bought", "prediction"]
    pd.testing.assert_frame_equal(got[["id", "seller", "price"]], part[["id", "seller", "price"]])
    assert got["bought"].tolist() == [None, *range(19)]
    assert list(model.predict(part, keep="id").columns[:2]) == ["id", "prediction"]
    plain = model.predict(read(part, folder))
    assert list(plain.index) == list(range(20)) and list(plain["prediction"]) == list(got["prediction"])
    two_levels = part.set_index(["seller", "price"], append=True, drop=False)
    assert model.predict(two_levels).index.equals(two_levels.index)


def test_what_can_not_be_kept(shop_and_model):
    frame, folder, model = shop_and_model
    with pytest.raises(InputError, match=r"has no column 'idd'; did you mean 'id'\?"):
        model.predict(read(frame, folder), keep=["idd"])
    clash = frame.assign(prediction="mine")
    with pytest.raises(
        InputError, match=r"'prediction' can't be kept, since an answer has this name; rename it in the"
    ):
        model.predict(read(clash, folder), keep=["prediction"])


def test_hidden_equals_empty(shop_and_model):
    frame, folder, model = shop_and_model
    hidden = model.predict(read(frame, folder), without=["photo"])
    empty = model.predict(read(frame.assign(photo=None), folder))
    pd.testing.assert_frame_equal(hidden, empty)
    assert not hidden.equals(model.predict(read(frame, folder)))


def test_everything_absent_still_gets_a_row(shop_and_model):
    frame, folder, model = shop_and_model
    frame = frame.assign(**{c: None for c in frame.columns})
    got = model.predict(read(frame.head(3), folder))
    assert len(got) == 3 and got["probability"].between(0, 1).all()


def test_table_without_target_and_with_more_columns_in_another_order(shop_and_model):
    frame, folder, model = shop_and_model
    expected = model.predict(read(frame, folder))
    other = frame.drop(columns="kind").assign(more="x")[["price", "more", "note", "photo", "seller"]]
    pd.testing.assert_frame_equal(expected, model.predict(read(other, folder)))


def test_missing_column_is_named_with_the_way_out(shop_and_model):
    frame, folder, model = shop_and_model
    with pytest.raises(InputError, match=r"has no column 'photo', which the model reads as 'photo'.*--without='photo'"):
        model.predict(read(frame.drop(columns="photo"), folder))
    got = model.predict(read(frame.drop(columns="photo"), folder), without=["photo"])
    assert len(got) == len(frame)


def test_column_of_another_kind_is_refused(shop_and_model):
    frame, folder, model = shop_and_model
    with pytest.raises(
        InputError, match=r"none of the 160 cells of column 'price' can be read as number; the first: row 1"
    ):
        model.predict(read(frame.assign(price="dear"), folder))
    with pytest.raises(InputError, match=r"none of the 160 cells of column 'photo' can be read as image"):
        model.predict(read(frame.assign(photo="a red box"), folder))


def test_unseen_category_and_extreme_numbers_are_no_error(shop_and_model):
    frame, folder, model = shop_and_model
    frame = frame.assign(seller="somebody new")
    frame["price"] = frame["price"].astype(object)
    frame.loc[0, "price"], frame.loc[1, "price"] = float("inf"), 1e308
    assert len(model.predict(read(frame, folder))) == len(frame)


def test_evaluate_counts_and_scores(shop_and_model):
    frame, folder, model = shop_and_model
    frame.loc[[0, 5], "kind"] = None
    answer = model.evaluate(read(frame, folder))
    assert (answer.rows, answer.unlabelled, answer.task) == (160, 2, "binary")
    low, value, high = (answer.metrics["accuracy"]._asdict()[k] for k in ("low", "value", "high"))
    assert low < value < high and value > 0.6
    labels, matrix = answer.confusion
    assert labels == ["good", "poor"] and sum(map(sum, matrix)) == 158
    hidden = model.evaluate(read(frame, folder), without=["note"])
    assert hidden.absent["note"] == 160 and hidden.metrics["roc_auc"].value < answer.metrics["roc_auc"].value


def test_unseen_label_is_named(shop_and_model):
    frame, folder, model = shop_and_model
    frame.loc[3, "kind"] = "middling"
    with pytest.raises(InputError, match=r"row 4, column 'kind'.*'middling'.*good.*poor"):
        model.evaluate(read(frame, folder))


def test_nothing_to_score(shop_and_model):
    frame, folder, model = shop_and_model
    with pytest.raises(InputError, match=r"none of the 160 rows has a label"):
        model.evaluate(read(frame.assign(kind=None), folder))
    with pytest.raises(InputError, match=r"has no column 'kind'"):
        model.evaluate(read(frame.drop(columns="kind"), folder))


def test_hiding_what_is_not_there(shop_and_model):
    frame, folder, model = shop_and_model
    with pytest.raises(InputError, match=r"no modality 'phota'; it has: "):
        model.predict(read(frame, folder), without=["phota"])
    with pytest.raises(InputError, match=r"every modality would be hidden"):
        model.predict(read(frame, folder), without=model.modalities)
