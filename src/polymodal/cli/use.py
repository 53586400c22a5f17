"""Commands that use a model: evaluate, predict, schema."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from polymodal.cli.app import app
from polymodal.cli.options import (
    DEVICES,
    CacheOpt,
    CaptionsOpt,
    CustomClassOpt,
    JsonOpt,
    ModelArg,
    PrecisionOpt,
    TableArg,
    WithoutOpt,
    add_decoding,
    cache_folder,
    decoding_of,
    open_aligned,
    open_model,
    output,
    print_json,
)

SURE = "Certainty (for models of labels and numbers)"  # the panel of options that texts do not know
CoverageOpt = Annotated[
    float | None,
    typer.Option(
        "--coverage",
        metavar="FRACTION",
        help="Sets of labels, or intervals, that hold the truth of so many rows, such as 0.9, whatever is absent.",
        rich_help_panel=SURE,
    ),
]
AbstainOpt = Annotated[
    float | None,
    typer.Option(
        "--abstain",
        metavar="P",
        help="Leave rows unanswered whose prediction is less probable than this, such as 0.8.",
        rich_help_panel=SURE,
    ),
]


@app.command()
@add_decoding
def evaluate(
    model: ModelArg,
    table: TableArg,
    without: WithoutOpt = None,
    cache: CacheOpt = None,
    custom_class: CustomClassOpt = None,
    precision: PrecisionOpt = "no",
    device: Annotated[str, typer.Option(help=DEVICES)] = "auto",
    coverage: CoverageOpt = None,
    abstain: AbstainOpt = None,
    as_json: JsonOpt = False,
    *,
    decoding: Mapping[str, Any],
) -> None:
    """Score a model on a table that has the target, with 95% bootstrap intervals.

    Of a model that writes text, rows that differ in the target alone are several references of one input. Of an aligned
    model: how well each modality finds each other, with no target.
    """
    from polymodal.model import is_aligned
    from polymodal.report import brief, retrieval
    from polymodal.view.console import show

    if is_aligned(model):
        answers = open_aligned(model, device).evaluate(table, cache=cache_folder(cache), progress=True)
        print_json(answers.to_json()) if as_json else show(retrieval.evaluation(answers))
        return
    reader = open_model(model, custom_class, device).lighter(precision)
    how = decoding_of(reader, decoding)
    answer = reader.evaluate(
        table, without=without or (), cache=cache_folder(cache), decoding=how, coverage=coverage, abstain=abstain,
        progress=True,
    )  # fmt: skip
    print_json(answer.to_json()) if as_json else show(brief.evaluation(answer))


@app.command()
@add_decoding
def predict(
    model: ModelArg,
    table: TableArg,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CSV file to write (default: standard output).")
    ] = None,
    without: WithoutOpt = None,
    cache: CacheOpt = None,
    custom_class: CustomClassOpt = None,
    precision: PrecisionOpt = "no",
    device: Annotated[str, typer.Option(help=DEVICES)] = "auto",
    coverage: CoverageOpt = None,
    abstain: AbstainOpt = None,
    captions: CaptionsOpt = None,
    keep: Annotated[
        list[str] | None,
        typer.Option("--keep", metavar="COLUMN", help="Copy this column of TABLE, such as an id; repeatable."),
    ] = None,
    as_json: JsonOpt = False,
    *,
    decoding: Mapping[str, Any],
) -> None:
    """Predict each row of a table, in order; the target need not be there, and any cell may be empty."""
    from polymodal.data.encode import Bad
    from polymodal.report import brief
    from polymodal.view.console import show

    reader = open_model(model, custom_class, device).lighter(precision)
    bad: list[Bad] = []
    unmet: Counter[str] = Counter()
    how = decoding_of(reader, {**decoding, "captions": captions})
    frames = reader.predictions(
        table, without=without or (), cache=cache, decoding=how, coverage=coverage, abstain=abstain,
        keep=keep or (), bad=bad, unmet=unmet,
    )  # fmt: skip
    if as_json:
        rows = [r for frame in frames for r in frame.to_dict("records")]
        sure = {} if abstain is None else {"abstained": sum(r["abstained"] for r in rows)}
        sure |= {} if coverage is None else {"unmet": dict(unmet)}
        print_json({"rows": len(rows), "predictions": rows, **sure, "bad": [b._asdict() for b in bad]})
        return
    with output(out) as file:
        count = abstained = 0
        for frame in frames:
            if abstain is not None:
                abstained += int(frame["abstained"].sum())
                frame["abstained"] = frame["abstained"].map({True: "true", False: "false"})
            for column in frame.columns[frame.dtypes == "object"]:  # sets of labels, in a form that can be read again
                frame[column] = [json.dumps(x, ensure_ascii=False) if isinstance(x, list) else x for x in frame[column]]
            frame.to_csv(file, index=False, header=count == 0)
            count += len(frame)
    abstentions = None if abstain is None else (abstain, abstained)
    # standard output may be the table
    show(brief.prediction_summary(count, out, bad, abstentions, unmet), stderr=True)


@app.command()
def schema(model: ModelArg, custom_class: CustomClassOpt = None, as_json: JsonOpt = False) -> None:
    """Show what a model reads: each column's kind and why, encoders, fusion, task."""
    from polymodal.report import brief
    from polymodal.view.console import show

    reader = open_model(model, custom_class)
    if as_json:
        print_json(reader.preprocessor.schema.to_json())
    else:
        show(brief.schema(reader))
