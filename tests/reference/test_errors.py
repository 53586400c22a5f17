"""A message names what its reader can change: an argument in Python, an option on the command line."""

import re

import pytest
import typer

import polymodal
from cases import over
from conftest import make_shop
from polymodal import InputError, Search, Training, cli
from polymodal.decoders.base import Decoding
from polymodal.errors import FLAGS, OTHER_NAMES, RECORD, as_arguments, command_line
from polymodal.experiment.config import RECORDS

NOT_TYPED = {"progress", "command", "decoding"}  # fields of records that are no options of their own


@pytest.fixture(autouse=True)
def _messages_as_typed():
    """In this file they are those of Python."""


def test_every_option_that_trains_has_its_argument():
    for record in RECORDS:
        for field in {*record._fields} - NOT_TYPED - {"fusion", "folds", "weight"}:  # as arguments of other verbs, too
            assert RECORD[field] == record.__name__, field
    assert RECORD["method"] == RECORD["beams"] == Decoding.__name__
    commands = typer.main.get_command(cli.app).commands
    of_fit = {p.opts[0].removeprefix("--").replace("-", "_") for p in commands["fit"].params if p.opts[0][:2] == "--"}
    assert {OTHER_NAMES.get(o, o) for o in of_fit} - {*RECORD} == {"json"}
    flags = {p.name for p in commands["fit"].params if getattr(p, "is_flag", False)}
    assert flags - {"as_json"} == FLAGS


@over(
    "typed, said",
    [("add --resume, or name another folder with --out.", "add Run(resume=True), or name another folder with out=."),
     ("leave --group out: give --valid", "leave group= out: give valid="),
     ("say --ignore=note; or --without 'my note'", 'say ignore=["note"]; or without=["my note"]'),
     ("(--lr=0.0001, --no-baselines)", "(Training(lr=0.0001), Search(baselines=False))"),
     ("--encoder photo=/m/vit.1: that", 'Columns(encoders={"photo": "/m/vit.1"}): that'),
     ("--decoding=beam --top-k 4", 'Decoding(method="beam") Decoding(top_k=4)'),
     ("--fractions can't be; a --read--> b; --json lists all; x--out; --outer", "fractions= can't be; a --read--> b; --json lists all; x--out; --outer")],
)  # fmt: skip
def test_options_as_arguments(typed, said):
    error = InputError(typed)
    assert as_arguments(typed) == str(error) == said
    with command_line():
        assert str(error) == typed
    assert str(error) == said


def test_the_main_ways_of_a_run(tmp_path, run):
    table = make_shop(tmp_path / "shop", 20)
    config = [Search("concat", "tiny", baselines=False), Training(epochs=1)]
    out = tmp_path / "model"
    model = polymodal.fit(table, "kind", out=out, config=config)
    empty = polymodal.Table.read(table).replaced({"note": [None] * 20})
    lacking = polymodal.Table.read([{"note": "well"}])
    for wrong, said, typed in (
        (lambda: polymodal.fit(table, "kind", out=out), "add Run(resume=True) to go on", "add --resume to go on"),
        (lambda: polymodal.fit(table, "kind", out=table), f'out="{table}" is a file', f"--out={table} is a file"),
        (lambda: polymodal.fit(empty, "kind", config=polymodal.Columns({"note": "text"})), 'leave it out with ignore=["note"]', None),
        (lambda: model.predict(lacking), 'leave the modality out with without=["photo"]', None),
        (lambda: polymodal.load(tmp_path), "give the folder that fit wrote (out=)", None),
        (lambda: polymodal.fit(table, "kind", group="seller", config=polymodal.Columns(order="price")),
         "rows are parted by group= or by time", None),
    ):  # fmt: skip
        with pytest.raises(InputError, match=re.escape(said)) as caught:
            wrong()
        assert "--" not in str(caught.value)
        if typed is not None:
            done = run("fit", table, "-t", "kind", "--out", table if "is a file" in typed else out)
            assert done.returncode == 2 and typed in done.stderr
