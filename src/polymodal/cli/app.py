"""The application that the commands register with."""

import typer

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Machine learning on tables whose columns are text, images, audio, series, vectors and numbers.\n\n"
    "A first run:  polymodal inspect train.csv --target label,  then  polymodal fit train.csv --target label --out model,  "
    "then  polymodal predict model new.csv --out predictions.csv. No data at hand?  polymodal demo.",
)
