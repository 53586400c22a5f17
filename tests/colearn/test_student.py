"""`polymodal distill`: the teacher's answers on all modalities, the same student without them, what is refused."""

import json
import shlex
from pathlib import Path

import pandas as pd
import pytest
import torch

from conftest import make_shop
from flat import distil as distill
from flat import fit
from polymodal import load
from polymodal.colearn.distill import TEACHER
from polymodal.data.table import Table
from polymodal.errors import InputError
from polymodal.experiment import distill as distilling
from polymodal.experiment.candidates import Networks
from polymodal.experiment.distill import TeacherRows
from polymodal.report import brief
from polymodal.view.console import show

TINY = {"size": "tiny", "epochs": 2, "lr": 0.01}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distill")
    table = make_shop(folder / "shop", 40)
    frame = pd.read_csv(table)
    frame.loc[[1, 5], "kind"] = None
    frame.to_csv(table, index=False)
    fit(table, "kind", **TINY, fusion="gated", baselines=False, out=folder / "model")
    return folder / "model", table


def test_rows_carry_the_teacher_s_logits_whatever_their_order(teacher):
    model, table = load(teacher[0]), Table.read(teacher[1])
    rows = model.preprocessor.encode(table, model.task, quiet=True)
    said = model.logits(rows)
    taught = TeacherRows(rows, said).only(["note"])
    assert taught.labelled().all() and not rows.labelled().all()
    batch = taught.batch([5, 0, 3])
    assert torch.equal(batch.targets[TEACHER].values, said[[5, 0, 3]]) and list(batch.inputs) == ["note"]
    assert batch.targets["target"].mask.tolist() == [False, True, True]


def test_the_teacher_answers_the_rows_that_are_learned_from(teacher, monkeypatch):
    """Each training row has what the teacher says of that very row on all columns, though a fifth was held out."""
    seen = []

    def stop(networks, *more):
        seen.append(networks.rows)
        raise StopIteration

    monkeypatch.setattr(Networks, "train", stop)
    with pytest.raises(StopIteration):
        distill(*teacher, ["note"], **TINY)
    model, (rows,) = load(teacher[0]), seen
    whole = model.logits(model.preprocessor.encode(Table.read(teacher[1]), None, quiet=True))
    at = [number - 1 for number in rows.numbers]
    assert len(at) < len(whole) and at != list(range(len(at)))
    torch.testing.assert_close(rows.batch(range(len(rows))).targets[TEACHER].values, whole[at])


def test_a_teacher_that_has_seen_the_validation_rows_is_said_to_flatter_itself(teacher):
    model = load(teacher[0])
    lesson = distilling._lesson(model, Table.read(teacher[1]), ["note"], "tiny")

    def said(seed):
        held = lesson.problem.table.take(lesson.problem.split(seed)[1])
        return any(
            "has learned from labels of the validation rows" in x for x in distilling._notes(lesson, [], held, 0)
        )

    assert not said(0) and said(1)
    model.report = model.report._replace(refit=True)
    assert said(0)


def test_an_interrupted_lesson_goes_on_as_if_it_had_not_been(teacher, tmp_path, interrupted):
    how = {**TINY, "out": tmp_path / "part"}
    whole = distill(*teacher, ["note"], **{**how, "out": tmp_path / "whole"})
    interrupted(3, lambda: distill(*teacher, ["note"], **how))  # in the second epoch of the taught student
    again = distill(*teacher, ["note"], **how, resume=True)
    mine, theirs = (x.learner.state_dict() for x in (again, whole))
    assert all(torch.equal(v, theirs[k]) for k, v in mine.items())
    assert again.report.to_json()["distillation"] == whole.report.to_json()["distillation"]


def test_a_student_beside_itself_without_a_teacher(teacher, tmp_path):
    folder, table = teacher
    student = distill(folder, table, ["note"], **TINY, weight=0.9, out=tmp_path / "s")
    report = student.report.to_json()
    assert student.modalities == ["note"] and list(student.learner.reads) == ["note"]
    names = [c["name"] for c in report["comparison"]["candidates"]]
    assert names == ["distilled", "without a teacher", "the teacher, on all"]
    assert set(report["comparison"]["gains"]) == {"without a teacher"}
    told = report["distillation"]
    assert (
        told["left"] == ["photo", "table"]
        and told["taught_alone"] == report["rows"]["unlabelled"] == 2
        and told["gain"].keys() == {"value", "low", "high"}
    )
    assert "2 rows without a label were taught by the teacher alone" in report["notes"]
    # the same rows are held out as when the teacher was fitted
    assert load(folder).report.to_json()["plan"]["validation rows"] == report["plan"]["validation rows"]
    again = load(tmp_path / "s")
    frame = pd.read_csv(table)[["note"]]
    assert list(again.predict(frame)["prediction"]) == list(student.predict(frame)["prediction"])
    done = distill(folder, table, ["note"], **TINY, weight=0.9, out=tmp_path / "s", resume=True)
    assert done.report.to_json()["seconds"] == report["seconds"]
    with pytest.raises(InputError, match=r"can.t be resumed: weight .it was 0.9. changed since it began"):
        distill(folder, table, ["note"], **TINY, weight=0.5, out=tmp_path / "s", resume=True)


def test_a_student_learns_what_only_the_teacher_says(teacher, monkeypatch):
    """The labels have nothing to do with the note; the teacher answers by one word of it."""
    folder, table = teacher

    def answers(model, part, run):
        told = torch.tensor(["lovely" in n for n in part.cells("note")])
        return torch.stack([told, ~told], 1) * 12.0 - 6.0

    monkeypatch.setattr(distilling, "_answers", answers)
    valid = pd.read_csv(make_shop(table.parent / "valid", 40, seed=7))
    valid["kind"] = ["good" if "lovely" in n else "poor" for n in valid["note"]]
    frame = pd.read_csv(table)
    frame["kind"] = ["good", "poor"] * (len(frame) // 2)
    student = distill(folder, frame, ["note"], valid=valid, size="tiny", epochs=20, lr=0.02, weight=1.0)
    taught, alone, of_teacher = (c["score"]["value"] for c in student.report.to_json()["comparison"]["candidates"])
    assert taught > 0.9 > alone and of_teacher == 1


def test_columns_of_the_table_can_be_kept_one_by_one(teacher):
    student = distill(*teacher, ["price"], **TINY)
    assert student.preprocessor.schema.modalities() == {"table": ("tabular", ["price"])}
    assert student.report.to_json()["distillation"]["left"] == ["photo", "note"]


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        (["phto"], r"--keep: the model has no column 'phto'; did you mean 'photo'\? It has: photo, note, table"),
        ([], "what should the student read\\? Name columns with --keep, of photo, note, table"),
        (["photo", "note", "table"], "--keep=photo,note,table is all that the model reads"),
    ],
)
def test_what_can_not_be_kept(teacher, keep, said):
    with pytest.raises(InputError, match=said):
        distill(*teacher, keep, **TINY)


@pytest.mark.parametrize(
    "more, said",
    [
        ({"seed": -5}, "seed can't be -5; it must be a whole number from 0"),
        ({"lr": float("nan")}, "lr can't be nan; it must be a finite number above 0"),
        ({"fusion": "auto"}, "a student is one network: --fusion=auto chooses among several; name one"),
    ],
)
def test_settings_that_no_student_can_have(teacher, more, said):
    with pytest.raises(InputError, match=said):
        distill(*teacher, ["note"], **{**TINY, **more})


def test_a_folder_can_not_lie_in_a_file(teacher):
    for out, said in (
        (teacher[1], "is a file"),
        (teacher[1] / "in", f"can be no folder, since {teacher[1]} is a file"),
    ):
        with pytest.raises(InputError, match=f"--out={out} {said}; name a folder"):
            distill(*teacher, ["note"], **TINY, out=out)


def test_the_command_line(teacher, run, tmp_path):
    folder, table = teacher
    done = run("distill", folder, table, "--keep", "photo,price", "--size", "tiny", "--epochs", 1, "--test", table,
               "--out", tmp_path / "s", "--temperature", 3, "--weight", 0.8, "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["distillation"]["temperature"] == 3 and len(report["test"]["comparison"]["candidates"]) == 3
    assert report["distillation"]["keep"] == ["photo", "table"]
    shown = run("distill", folder, table, "--keep", "note", "--size", "tiny", "--epochs", 1, "--out", tmp_path / "t")
    assert "without a teacher" in shown.stdout and "95% interval" in shown.stdout, shown.stderr
    wrong = run("distill", folder, table, "--keep", "note", "--weight", 2, "--out", tmp_path / "u")
    assert wrong.returncode == 2 and "--weight can't be 2.0" in wrong.stderr


def test_the_commands_that_are_advised_can_be_typed(teacher, capsys):
    show(brief.fit_summary(load(teacher[0]), Path("a b'c")))
    lines = [shlex.split(line)[:4] for line in capsys.readouterr().out.splitlines() if line.startswith("  polymodal ")]
    assert lines == [["polymodal", verb, "a b'c", "TABLE"] for verb in ("evaluate", "predict")]
