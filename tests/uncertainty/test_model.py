"""Certainty from end to end: fit, save, load, predict, evaluate, and the command line."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

import flat
import polymodal
from conftest import make_shop
from polymodal import cli
from polymodal.training.inference import predict
from polymodal.uncertainty import answers

FAST = {"epochs": 5, "size": "tiny", "baselines": False}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The folder, and two tables: to learn from, and new."""
    folder = tmp_path_factory.mktemp("uncertain")
    learn, new = make_shop(folder / "a", 130), make_shop(folder / "b", 70, seed=1)
    frame = pd.read_csv(new)
    frame.loc[:19, "photo"] = None
    frame.to_csv(new, index=False)
    return folder, learn, new


@pytest.fixture(scope="module")
def model(shop):
    folder, learn, _ = shop
    return flat.fit(learn, "kind", fusion="gated", out=folder / "model", seed=3, **FAST)


@pytest.fixture(scope="module")
def features(shop):
    """Estimators on features, refitted on the validation rows."""
    _, learn, _ = shop
    return flat.fit(learn, "kind", fusion="features", preset="best", ignore=["photo"], time_limit=2, **FAST)


def command(run, *args):
    done = run(*args)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("which", ["model", "features"])
def test_encoders_that_look_once_answer_as_hidden_modalities_do(which, shop, request):
    model = request.getfixturevalue(which)
    rows = model.preprocessor.encode(polymodal.Table.read(shop[2]), None).only(list(model.learner.reads))
    views = model.preprocessor.views
    patterns = [p["present"] for p in model.report.to_json()["calibration"]["patterns"]]
    assert len(patterns) == 2 ** len(model.modalities) - 1
    for present, found in zip(patterns, answers(model.learner, rows, views, patterns), strict=True):
        away = {v: np.ones(len(rows), dtype=bool) for v in rows.inputs if views[v] not in present}
        assert torch.allclose(found, predict(model.learner, rows.hidden(away), 128).values, atol=1e-4)


def test_a_learner_that_saw_the_validation_rows_is_calibrated_as_it_was_before(shop, features, monkeypatch):
    seen = []
    monkeypatch.setattr("polymodal.learners.library.Library.learner", lambda self, recipe, refit=False: seen.append(refit) or features.learner)  # fmt: skip
    flat.fit(shop[1], "kind", fusion="features", preset="best", ignore=["photo"], time_limit=0.1, **FAST)
    assert features.report.to_json()["refit"] and seen == sorted(seen) and set(seen) == {False, True}


def test_a_saved_model_is_as_sure(shop, model):
    folder, _, new = shop
    again = polymodal.load(folder / "model")
    one, two = (m.predict(new, coverage=0.8, abstain=0.6) for m in (model, again))
    pd.testing.assert_frame_equal(one, two)
    assert again.report.to_json()["calibration"] == model.report.to_json()["calibration"]


def test_probabilities_are_those_of_the_temperature(shop, model, monkeypatch):
    monkeypatch.setattr(model.report.calibration, "temperature", 1.0)
    plain, before = model.predict(shop[2]), model.evaluate(shop[2])
    monkeypatch.setattr(model.report.calibration, "temperature", 2.5)
    mild, after = model.predict(shop[2]), model.evaluate(shop[2])
    want = torch.tensor(plain.filter(like="[").to_numpy()).log().div(2.5).softmax(1)
    assert np.allclose(mild.filter(like="[").to_numpy(), want, atol=1e-5)
    assert list(plain["prediction"]) == list(mild["prediction"])
    assert (
        before.metrics["accuracy"] == after.metrics["accuracy"]
        and before.metrics["roc_auc"] == after.metrics["roc_auc"]
    )
    assert after.metrics["log_loss"].value == pytest.approx(after.probabilities["log_loss"])
    assert after.metrics["log_loss"].value != pytest.approx(before.metrics["log_loss"].value)
    assert after.probabilities["temperature"] == 2.5


def test_abstaining_leaves_unsure_rows_empty(shop, model):
    plain, careful = model.predict(shop[2]), model.predict(shop[2], abstain=0.75)
    unsure = plain["probability"] < 0.75
    assert 0 < unsure.sum() < len(plain)
    assert careful["abstained"].tolist() == unsure.tolist()
    assert careful["prediction"].isna().tolist() == unsure.tolist()
    assert careful["prediction"][~unsure].tolist() == plain["prediction"][~unsure].tolist()


def test_whole_numbers_stay_whole_beside_a_gap(shop, model, monkeypatch):
    monkeypatch.setattr(model.task, "labels_", [4, 5])
    careful = model.predict(shop[2], abstain=0.75, coverage=0.5)
    assert set(careful["prediction"]) == {None, 4, 5} or set(careful["prediction"].dropna()) <= {4, 5}
    assert all(isinstance(x, int) for x in careful["prediction"].dropna())


def test_predict_on_the_command_line(shop, model, run, tmp_path):
    folder, _, new = shop
    asked = ("--coverage", 0.8, "--abstain", 0.75)
    for more in ((), ("--without", "photo"), ("--precision", "int8"), ("--precision", "bf16")):
        done = command(run, "predict", folder / "model", new, "--out", tmp_path / "p.csv", *asked, *more)
        got = pd.read_csv(tmp_path / "p.csv", keep_default_na=False)
        sets, left = [json.loads(x) for x in got["set"]], got["abstained"].sum()
        assert all(set(s) <= {"good", "poor"} for s in sets) and {len(s) for s in sets} > {1}
        assert got["abstained"].dtype == bool and ((got["prediction"] == "") == got["abstained"]).all()
        assert f"{left} of 70 rows {'is' if left == 1 else 'are'} unanswered: less sure than 0.75" in done.stderr
        assert "too few" not in done.stderr
    text = (tmp_path / "p.csv").read_text()
    assert ",true\n" in text and ",false\n" in text
    form = json.loads(command(run, "predict", folder / "model", new, "--json", *asked).stdout)
    assert form["abstained"] == sum(r["prediction"] is None for r in form["predictions"]) and form["unmet"] == {}
    most = command(run, "predict", folder / "model", new, "--coverage", 0.999, "--without", "note")
    assert (
        "too few validation rows tell of such rows" in most.stderr and "with photo + table: all labels" in most.stderr
    )


def test_evaluate_on_the_command_line(shop, model, run):
    folder, _, new = shop
    asked = ("--coverage", 0.8, "--abstain", 0.75)
    form = json.loads(command(run, "evaluate", folder / "model", new, "--json", *asked).stdout)
    assert [c["present"] for c in form["coverage"]] == [["photo", "note", "table"], ["note", "table"]]
    assert [c["rows"] for c in form["coverage"]] == [50, 20]
    assert set(form["coverage"][0]) == {"present", "rows", "coverage", "low", "high", "size"}
    assert form["coverage_overall"]["asked"] == 0.8 and form["coverage_overall"]["rows"] == 70
    sets = model.predict(new, coverage=0.8)["set"]
    truth = pd.read_csv(new)["kind"]
    share = np.mean([t in s for t, s in zip(truth, sets, strict=True)])
    assert form["coverage_overall"]["coverage"] == pytest.approx(share)
    assert form["coverage_overall"]["size"] == pytest.approx(np.mean([len(s) for s in sets]))
    assert form["selective"]["share"] == pytest.approx(form["selective"]["rows"] / 70)
    assert set(form["probabilities"]) == {"temperature", "log_loss", "brier", "ece"}
    said = command(run, "evaluate", folder / "model", new, *asked).stdout
    for words in ("sets asked to hold the truth of 80.0% of rows", "note + table", "labels a set", "answered when at least 0.75",
                  "probabilities: temperature"):  # fmt: skip
        assert words in said, said
    plain = json.loads(command(run, "evaluate", folder / "model", new, "--json").stdout)
    assert plain["coverage"] is None and plain["selective"] is None and plain["coverage_overall"] is None


def test_numbers_have_intervals(shop, run):
    folder, learn, new = shop
    made = flat.fit(learn, "price", fusion="concat", ignore=["photo", "seller"], out=folder / "price", **FAST)
    frame = made.predict(new, coverage=0.8)
    assert (frame["low"] < frame["prediction"]).all() and (frame["prediction"] < frame["high"]).all()
    found = made.evaluate(new, coverage=0.8)
    truth = pd.read_csv(new)["price"]
    assert found.coverage.overall.coverage == pytest.approx(truth.between(frame["low"], frame["high"]).mean())
    assert found.coverage.overall.size == pytest.approx((frame["high"] - frame["low"]).mean())
    assert found.probabilities is None
    done = run("predict", folder / "price", new, "--abstain", 0.5)
    assert done.returncode == 2 and "a regression has no probability that --abstain could go by" in done.stderr
    most = command(run, "predict", folder / "price", new, "--coverage", 0.9999, "--json")
    assert json.loads(most.stdout)["predictions"][0]["low"] is None
    assert "mean width" in command(run, "evaluate", folder / "price", new, "--coverage", 0.8).stdout


@pytest.mark.parametrize("verb", ["predict", "evaluate"])
@pytest.mark.parametrize("option", ["--coverage", "--abstain"])
@pytest.mark.parametrize("share", ["0", "1", "1.5", "-0.1", "nan"])
def test_shares_that_can_not_be(shop, model, run, verb, option, share):
    done = run(verb, shop[0] / "model", shop[2], option, share)
    assert done.returncode == 2 and done.stdout == ""
    assert f"{option} can't be {float(share)!r}; it must be a fraction between 0 and 1, such as 0.9" in done.stderr


def test_a_model_without_calibration(shop, model, run):
    folder, _, new = shop
    old = polymodal.load(folder / "model")
    old.report = old.report._replace(calibration=None)
    old.save(folder / "old")
    for verb in ("predict", "evaluate"):
        done = run(verb, folder / "old", new, "--coverage", 0.9)
        assert done.returncode == 2 and "the model has no calibration, which --coverage goes by" in done.stderr
        assert "fit it again" in done.stderr
    assert command(run, "predict", folder / "old", new, "--abstain", 0.7).stdout.count("true") > 0


def test_a_model_that_writes_has_no_sets(shop, run):
    folder, learn, new = shop
    flat.fit(
        learn, "note", task="generate", ignore=["photo", "seller"], out=folder / "writer", epochs=1, size="tiny",
        baselines=False,
    )  # fmt: skip
    for option in ("--coverage", "--abstain"):
        for verb in ("predict", "evaluate"):
            done = run(verb, folder / "writer", new, option, 0.9)
            assert done.returncode == 2
            assert f"the model writes text, and {option} is for labels and numbers; leave it out" in done.stderr


def test_flags_are_these():
    import typer

    commands = typer.main.get_command(cli.app).commands
    own = "model table without cache custom_class precision device coverage abstain as_json".split()
    writing = set(polymodal.cli.options.DECODING)
    assert {p.name for p in commands["evaluate"].params} == {*own, *writing}
    assert {p.name for p in commands["predict"].params} == {*own, "out", "captions", "keep", *writing}
