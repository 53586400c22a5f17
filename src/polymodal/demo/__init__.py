"""The demo: two small sets of data that it makes itself, and a first run over each.

digits   a picture and a sound of a digit -> which one it is
shapes   a picture -> a sentence
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.demo import shapes
from polymodal.demo.digits import VOICES, DemoTables, make_table
from polymodal.errors import InputError
from polymodal.view.blocks import Block, Code, Heading, Words
from polymodal.view.text import interval

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DemoTables", "make_table", "run"]

Tell = Callable[[Sequence[Block]], None]
EPOCHS = 28  # a number, not a time limit: one seed then gives one model, however busy the machine
# of the captions: again a number of epochs
SHAPE_EPOCHS, BATCH, LR, DECODER = 14, 16, 2e-3, "transformer"
FIT = "--target digit --group speaker"
TRY_NEXT = """\
Try next:
  polymodal schema {model}
      what the model reads, and by which parts
  polymodal fit {train} {fit} --size tiny --fusion attention --out {folder}/attention
      another fusion; `polymodal fit --help` names them all
  polymodal fit {train} {fit} --out {folder}/longer
      both paths: networks with several fusions, and estimators on features
  polymodal compare {train} {fit} --fusion gated,features --folds 3 --out {folder}/compare
      fusions and features on the same folds, with tests and plots
  polymodal explain {folder}/shapes/model {folder}/shapes/unseen.csv --row 1 --out {folder}/row1.html
      where in the picture each word of a caption looked
  polymodal inspect YOURS.csv
      a table of your own
or, in Python:
  import polymodal
  model = polymodal.load("{model}")
  model.predict([{{"picture": "{folder}/pictures/unseen-0000.png", "sound": None}}])
"""


def run(folder: Path, quiet: bool = False) -> None:
    """Make the tables, then inspect, fit, evaluate and predict, saying the command line of each step.

    Raises InputError where the folder holds something else, or a package is missing.
    """
    from polymodal.view.console import show

    def tell(blocks: Sequence[Block]) -> None:
        if not quiet:
            show(blocks)

    ours = (folder / "pictures").is_dir() and (folder / "sounds").is_dir()
    if folder.exists() and not ours and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} holds something else already; name a new folder: polymodal demo DIR")
    with _one_thread():
        _digits(folder, tell, quiet)
        _captions(folder / "shapes", tell, quiet)
    paths = {"train": folder / "train.csv", "folder": folder, "model": folder / "model", "fit": FIT}
    tell([Words(""), *map(Words, TRY_NEXT.format(**paths).splitlines())])


def _digits(folder: Path, tell: Tell, quiet: bool) -> None:
    import polymodal
    from polymodal.data.portray import portray
    from polymodal.report import brief

    _step(tell, f"Handwritten digits, and the same digits spoken in {len(VOICES)} voices with noise", None)
    try:
        train, unseen = make_table(folder)
    except ImportError as e:
        raise InputError(str(e)) from e
    tell([Words(f"{train} has {len(VOICES) * 4 // 5} voices; {unseen} has others, and other hands")])
    _step(tell, "What is in the table?", f"inspect {train} {FIT}")
    tell(portray(polymodal.inspect(str(train), ["digit"], "speaker")))

    model_folder = folder / "model"
    _step(
        tell,
        "Train, and compare with each modality alone",
        f"fit {train} --test {unseen} {FIT} --fusion gated --size tiny --epochs {EPOCHS} --out {model_folder}",
    )
    model = polymodal.fit(
        str(train),
        "digit",
        test=str(unseen),
        group="speaker",
        out=model_folder,
        config=[
            polymodal.Search(fusion="gated", size="tiny"),
            polymodal.Training(epochs=EPOCHS),
            polymodal.Run(overwrite=True, progress=not quiet),
        ],
    )
    tell(brief.fit_summary(model, model_folder))

    _step(tell, "How good is it on speakers that it never heard?", f"evaluate {model_folder} {unseen}")
    tell(brief.evaluation(model.evaluate(str(unseen))))
    for column in ("sound", "picture"):
        _step(tell, f"And without any {column}?", f"evaluate {model_folder} {unseen} --without {column}")
        score = model.evaluate(str(unseen), without=[column]).metrics["accuracy"]
        tell([Words(f"accuracy {interval(score)}")])

    out = folder / "predictions.csv"
    _step(tell, "Predict", f"predict {model_folder} {unseen} --out {out}")
    answers = model.predict(str(unseen))
    answers.to_csv(out, index=False)
    tell([Words(_sample(unseen, answers))])


def _captions(folder: Path, tell: Tell, quiet: bool) -> None:
    import polymodal
    from polymodal.decoders import Decoding
    from polymodal.objectives.writing import Writing
    from polymodal.report import brief

    _step(tell, "Pictures of shapes, and every sentence of a small grammar that is true of them", None)
    tables = shapes.make_table(folder)
    text = (
        f"{tables.train} and {tables.unseen} lack {len(shapes.held_out())} triples of colour, shape and relation; "
        f"each picture of {tables.new_combinations} has one"
    )
    tell([Words(text)])
    out = folder / "model"
    how = f"--size tiny --decoder {DECODER} --beams 1 --smoothing 0"
    often = f"--epochs {SHAPE_EPOCHS} --batch-size {BATCH} --lr {LR:g}"
    _step(
        tell,
        "Learn to describe them",
        f"fit {tables.train} --target captions --task generate {how} {often} --out {out}",
    )
    model = polymodal.fit(
        str(tables.train),
        "captions",
        task="generate",
        out=out,
        config=[
            polymodal.Search(size="tiny"),
            Writing(decoder=DECODER, smoothing=0.0, decoding=Decoding(beams=1)),
            polymodal.Training(epochs=SHAPE_EPOCHS, batch_size=BATCH, lr=LR),
            polymodal.Run(overwrite=True, progress=not quiet),
        ],
    )
    tell(brief.fit_summary(model, out))
    for title, table in (
        ("How good is it on new pictures?", tables.unseen),
        ("And where a colour, a shape and a relation come together as never before?", tables.new_combinations),
    ):
        _step(tell, title, f"evaluate {out} {table}")
        tell(brief.evaluation(model.evaluate(str(table))))
    file = folder / "written.csv"
    _step(tell, "Describe", f"predict {out} {tables.new_combinations} --out {file}")
    answers = model.predict(str(tables.new_combinations))
    answers.to_csv(file, index=False)
    tell([Words(_describe(tables.new_combinations, answers))])


@contextmanager
def _one_thread() -> Iterator[None]:
    """torch in one thread: threads of so small a network wait for each other on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _step(tell: Tell, title: str, command: str | None) -> None:
    lines: list[Block] = [] if command is None else [Code(f"$ polymodal {command}"), Words("")]
    tell([Words(""), Heading(title), *lines])


def _sample(table: Path, answers: "pd.DataFrame") -> str:
    """A few rows beside their predictions: two whole ones, two without a picture, two without a sound."""
    import pandas as pd

    rows = pd.read_csv(table, dtype=str, keep_default_na=False)[["picture", "sound", "digit"]]
    rows = rows.assign(prediction=answers["prediction"], probability=answers["probability"].round(3))
    lacking = rows["picture"].eq("") * 1 + rows["sound"].eq("") * 2
    rows_of = [i for k in range(3) for i in rows.index[lacking == k][:2]]
    return str(rows.loc[rows_of].replace({"picture": {"": "-"}, "sound": {"": "-"}}).to_string(index=False))


def _describe(table: Path, answers: "pd.DataFrame", count: int = 4) -> str:
    """The first pictures of a table, each with what was written of it, and whether that is true."""
    import pandas as pd

    lines = []
    for (picture, captions), caption in zip(pd.read_csv(table).head(count).values, answers["prediction"], strict=False):
        true = json.loads(captions)
        lines += [f"{table.parent / picture}", f"  {caption} ({'true' if caption in true else 'wrong: ' + true[0]})"]
    return "\n".join(lines)
