"""Models that write, on the command line: every option of decoding, what is refused and how, the list of commands."""

import io
import json
import re
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import flat
from conftest import squares
from polymodal.cli import main
from polymodal.cli.options import DECODING, decoding_of
from polymodal.decoders.base import Decoding
from polymodal.errors import InputError

COMMANDS = ["compare", "demo", "evaluate", "explain", "features", "fit", "fusions", "inspect", "predict", "schema"]
COMMANDS += ["align", "embed", "cache", "data", "distill", "learning-curve", "modalities", "report", "robustness"]
SIZE = 15  # of the vocabulary of the squares


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A captioner that has seen 16 pictures twice: the model, its table and its folder."""
    folder = tmp_path_factory.mktemp("writing")
    table, out = squares(folder / "data", 16), folder / "model"
    model = flat.fit(
        table, "caption", task="generate", size="tiny", epochs=2, lr=0.01, batch_size=4, baselines=False, out=out,
        cache=folder / "cache", ignore=["caption_id"],
    )  # fmt: skip
    assert model.task.outputs == SIZE
    return model, table, out


@pytest.fixture
def cli(monkeypatch, capsys):
    """The command line in this process: exit code, standard output, standard error."""

    def cli(*words):
        monkeypatch.setattr("sys.argv", ["polymodal", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "160")
        with pytest.raises(SystemExit) as done:
            main()
        return int(done.value.code or 0), *capsys.readouterr()

    return cli


@pytest.fixture
def predicted(fitted, cli):
    """The table of `polymodal predict` with these options."""

    def predicted(*options):
        _, table, folder = fitted
        code, out, err = cli("predict", folder, table, *options)
        assert code == 0, err
        return pd.read_csv(io.StringIO(out), keep_default_na=False)

    return predicted


def same(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    return list(a) == list(b) and all(
        np.allclose(a[c], b[c], atol=1e-4) if c.startswith("log") else list(a[c]) == list(b[c]) for c in a
    )


# --- what is given, in place of the model's own -------------------------------------------------------

FOUR = Decoding("diverse", beams=4, groups=2)
WARM = Decoding("sample", temperature=0.7, min_length=2)


@pytest.mark.parametrize(
    ("own", "given", "found"),
    [
        (Decoding(), {"captions": 2}, Decoding(captions=2)),
        (Decoding(), {"beams": 5, "captions": 5}, Decoding(beams=5, captions=5)),
        (Decoding(beams=5), {"length_penalty": 0.5}, Decoding(beams=5, length_penalty=0.5)),
        (Decoding(), {"method": "greedy", "no_repeat": 2}, Decoding("greedy", no_repeat=2)),
        (Decoding(beams=7), {"method": "greedy", "captions": 1}, Decoding("greedy")),
        (Decoding(), {"method": "sample", "top_k": 3, "seed": 1}, Decoding("sample", top_k=3, seed=1)),
        (
            Decoding(),
            {"method": "sample", "captions": 2, "length_penalty": 0.0},
            Decoding("sample", captions=2, length_penalty=0.0),
        ),
        (Decoding(), {"method": "diverse"}, Decoding("diverse")),
        (Decoding(), {"method": "diverse", "beams": 6, "groups": 2}, Decoding("diverse", beams=6, groups=2)),
        (FOUR, {"diversity": 2.0}, Decoding("diverse", beams=4, groups=2, diversity=2.0)),
        (FOUR, {"method": "beam"}, Decoding()),
        (WARM, {"seed": 4}, Decoding("sample", temperature=0.7, min_length=2, seed=4)),
        (WARM, {"method": "beam", "beams": 4}, Decoding(beams=4, min_length=2)),
    ],
)
def test_what_is_given_takes_the_place_of_the_own_setting(own, given, found):
    assert own.override(11, **given) == found


REFUSED = [
    (["--beams", 0], rf"beams can't be 0; it must be from 1 to the size of the vocabulary, {SIZE}"),
    (["--beams", 16], rf"beams can't be 16; it must be from 1 to the size of the vocabulary, {SIZE}"),
    (["--captions", 3, "--beams", 2], r"3 captions can't come of 2 beams; ask for more beams \(--beams 3\), or sample"),
    (["--captions", 5], r"5 captions can't come of 3 beams; .*\(--beams 5\), or sample them \(--decoding sample\)"),
    (["--captions", 40], r"40 captions can't come of 3 beams; ask for fewer, or sample them \(--decoding sample\)"),
    (["--captions", 3, "--decoding", "greedy"], r"greedy decoding gives one caption a row, not 3; use --decoding beam"),
    (["--captions", 0], r"Invalid value for '--captions'"),
    (["--decoding", "bean"], r"method can't be 'bean'; it must be one of greedy, beam, sample, diverse"),
    (["--decoding", "greedy", "--beams", 3], r"--beams 3 has no effect on greedy .* use --decoding beam or diverse"),
    (["--decoding", "sample", "--beams", 3], r"--beams 3 has no effect on sample decoding; leave it out"),
    (["--decoding", "greedy", "--length-penalty", 2], r"--length-penalty 2\.0 has no effect on greedy decoding"),
    (["--decoding", "sample", "--length-penalty", 2], r"--length-penalty 2\.0 has no effect on sample decoding"),
    (["--beams", 1, "--length-penalty", 2], r"--length-penalty 2\.0 has no effect on the ranking of one beam"),
    (["--top-p", 0.5], r"--top-p 0\.5 has no effect on beam .* use --decoding sample"),
    (["--groups", 3], r"--groups 3 has no effect on beam decoding; .* --decoding diverse"),
    (["--diversity", 0.5], r"--diversity 0\.5 has no effect on beam decoding; .* --decoding diverse"),
    (["--seed", 1], r"--seed 1 has no effect on beam decoding; leave it out, or use --decoding sample"),
    (
        ["--decoding", "sample", "--groups", 2],
        r"--groups 2 has no effect on sample decoding; .* use --decoding diverse",
    ),
    (
        ["--decoding", "diverse", "--groups", 2],
        r"groups can't be 2; it must be a number from 2 that divides the 3 beams",
    ),
    (["--decoding", "diverse", "--groups", 1], r"groups can't be 1; it must be a number from 2 that divides"),
    (["--decoding", "diverse", "--beams", 1], r"a diverse beam search needs 2 beams or more, not 1"),
    (["--decoding", "sample", "--temperature", 0], r"temperature can't be 0\.0; it must be a finite number above 0"),
    (["--min-length", 3, "--max-length", 2], r"max-length can't be 2; .* at least min-length"),
    (["--precision", "int4"], r"precision can't be 'int4'; it must be one of no, bf16, int8"),
]


@pytest.mark.parametrize(
    ("options", "said"), REFUSED, ids=lambda x: " ".join(map(str, x)) if isinstance(x, list) else ""
)
def test_what_can_not_be_asked_for_is_told(fitted, cli, options, said):
    _, table, folder = fitted
    code, out, err = cli("predict", folder, table, *options)
    assert code == 2 and out == "" and "Traceback" not in err
    assert re.search(said, err), err


def test_in_a_process_of_its_own_too(fitted, process):
    _, table, folder = fitted
    done = process("predict", folder, table, "--beams", 0)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: beams can't be 0") and done.stderr.count("\n") == 1


def test_a_model_without_words_has_no_decoding():
    model = SimpleNamespace(learner=SimpleNamespace(decoding=None), task=SimpleNamespace(name="binary"))
    with pytest.raises(InputError, match=r"no text \(its task is binary\); leave out --decoding, --top-k$"):
        decoding_of(model, {"method": "beam", "beams": None, "top_k": 0})
    assert decoding_of(model, {"method": None, "top_k": None}) is None


# --- predict ------------------------------------------------------------------------------------------


def test_five_captions_of_each_row(fitted, predicted, cli):
    _, table, folder = fitted
    frame = predicted("--captions", 5, "--beams", 5)
    names = [f"{c}{end}" for end in ("", "_2", "_3", "_4", "_5") for c in ("prediction", "log_probability")]
    assert list(frame) == names and len(frame) == 48  # a row a sentence
    texts = frame[names[::2]].to_numpy()
    assert all(len({*row}) == 5 for row in texts)  # beams are never the same
    code, out, _ = cli("predict", folder, table, "--captions", 5, "--beams", 5, "--json")
    form = json.loads(out)
    assert code == 0 and form["rows"] == 48 and form["bad"] == []
    assert same(pd.DataFrame(form["predictions"]), frame)


@pytest.mark.parametrize(
    ("options", "how"),
    [
        ([], Decoding()),
        (["--decoding", "greedy"], Decoding("greedy")),
        (["--beams", 5, "--length-penalty", 0], Decoding(beams=5, length_penalty=0)),
        (["--min-length", 4, "--no-repeat", 1], Decoding(min_length=4, no_repeat=1)),
        (["--min-length", 3, "--max-length", 3], Decoding(min_length=3, max_length=3)),
        (["--decoding", "sample", "--temperature", 1.5, "--seed", 3], Decoding("sample", temperature=1.5, seed=3)),
        (["--decoding", "sample", "--top-k", 4, "--captions", 2], Decoding("sample", top_k=4, captions=2)),
        (["--decoding", "sample", "--top-p", 0.9, "--seed", 1], Decoding("sample", top_p=0.9, seed=1)),
        (["--decoding", "diverse"], Decoding("diverse", beams=3, groups=3)),
        (
            ["--decoding", "diverse", "--beams", 4, "--groups", 2, "--diversity", 5, "--captions", 3],
            Decoding("diverse", beams=4, groups=2, diversity=5, captions=3),
        ),
    ],
    ids=lambda x: " ".join(map(str, x)) if isinstance(x, list) else "",
)
def test_options_are_the_settings_of_a_search(fitted, predicted, options, how):
    model, table, _ = fitted
    assert same(predicted(*options), model.predict(table, decoding=how))


def test_options_do_what_they_say(predicted):
    three = predicted("--min-length", 3, "--max-length", 3)["prediction"].str.split()
    assert {len(words) for words in three} == {3}
    once = predicted("--no-repeat", 1, "--min-length", 5)["prediction"].str.split()
    assert all(len({*words}) == len(words) >= 5 for words in once)
    likeliest = predicted("--decoding", "sample", "--top-k", 1)
    assert same(likeliest, predicted("--decoding", "greedy"))
    draws = [predicted("--decoding", "sample", "--temperature", 2, "--seed", seed) for seed in (1, 1, 2)]
    assert same(draws[0], draws[1]) and not same(draws[1], draws[2])


@pytest.mark.parametrize("precision", ["int8", "bf16"])
def test_lighter_precisions_write_about_as_likely_texts(predicted, precision):
    plain, light = predicted(), predicted("--precision", precision)
    assert list(light) == list(plain)
    assert np.allclose(light["log_probability"], plain["log_probability"], atol=0.2)


# --- evaluate and explain -----------------------------------------------------------------------------


def test_evaluate_names_every_score_and_what_meteor_lacks(fitted, cli):
    _, table, folder = fitted
    code, out, _ = cli("evaluate", folder, table, "--json", "--decoding", "greedy")
    form = json.loads(out)
    assert code == 0 and form["task"] == "generate" and form["rows"] == 16  # a row a picture
    names = "bleu_1 bleu_2 bleu_3 bleu_4 meteor_exact_stem rouge_l cider_d chrf wer cer"
    assert {*names.split()} <= form["metrics"].keys()
    for name in names.split():
        score = form["metrics"][name]
        assert 0 <= score["low"] <= score["value"] <= score["high"] <= 10, name
    (note,) = form["notes"]
    assert note.startswith("meteor_exact_stem ") and "WordNet" in note
    code, out, _ = cli("evaluate", folder, table)
    lines = out.splitlines()
    assert code == 0 and any(line.strip().startswith("bleu_4") for line in lines) and lines.count(note) == 1


def test_scores_without_meteor_have_no_note(fitted):
    model, table, _ = fitted
    answer = model.evaluate(table)
    assert answer.notes and not answer._replace(metrics={"bleu_4": answer.metrics["bleu_4"]}).notes


def test_another_search_leaves_the_learner_as_it_is(fitted, monkeypatch):
    model, table, _ = fitted
    own, write, seen = model.learner.decoding, model.learner.write, []

    def spy(inputs, how=None):
        seen.append((how, model.learner.decoding))
        return write(inputs, how)

    how = Decoding("sample", seed=5, temperature=3.0)
    monkeypatch.setattr(model.learner, "write", spy)
    answer = model.evaluate(table, decoding=how)
    assert seen and all(x == (how, own) for x in seen)
    assert str(answer.metrics) != str(model.evaluate(table).metrics)
    monkeypatch.setattr(model.learner, "decoding", how)
    assert str(answer.metrics) == str(model.evaluate(table).metrics)


def test_explain_writes_every_form(fitted, cli, tmp_path: Path):
    pytest.importorskip("matplotlib")
    _, table, folder = fitted
    ask = ["explain", folder, table, "--row", 2, "--decoding", "greedy", "--min-length", 3, "--max-length", 3]
    for suffix, start in ((".json", b"{"), (".html", b"<!DOCTYPE html>"), (".png", b"\x89PNG")):
        out = tmp_path / f"row{suffix}"
        code, said, err = cli(*ask, "--out", out)
        assert code == 0 and out.read_bytes().startswith(start) and said.startswith(f"{out}: "), err
    form = json.loads((tmp_path / "row.json").read_text())
    assert form == json.loads(cli(*ask, "--json")[1]) and len(form["words"]) == 3
    code, said, err = cli(*ask, "--beams", 3)
    assert code == 2 and said == "" and "--beams 3 has no effect on greedy decoding" in err


# --- the command line as a whole ----------------------------------------------------------------------


def test_every_setting_of_a_search_is_an_option():
    assert {f.name for f in fields(Decoding)} == {*DECODING, "captions"}


def test_the_commands(process):
    """In a process of its own: here, other tests may have imported what the command line forgot."""
    done = process("--help")
    box = done.stdout[done.stdout.index("Commands") :]
    assert done.returncode == 0 and sorted(re.findall(r"^. ([\w-]+)  ", box, re.MULTILINE)) == sorted(COMMANDS), box
