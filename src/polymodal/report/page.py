"""A report as one HTML page, which needs nothing beside itself, in less detail where it would be too large."""

from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files

from polymodal.data.preprocess import Preprocessor
from polymodal.data.table import Table
from polymodal.evaluate.figures import available, plain
from polymodal.report.blocks import Section
from polymodal.report.looks import DETAILS, Detail, Look, looks

LARGEST = 2_900_000  # bytes of a page
MARK = b'<meta name="generator" content="polymodal report">'
HINT = "Pictures are drawn where matplotlib is installed: pip install 'polymodal[explain]'"


def page(
    title: str, summary: Sequence[str], sections: Sequence[Section], preprocessor: Preprocessor, table: Table
) -> str:
    """The page. preprocessor, table: by which cards show their rows."""
    html = ""
    for detail in DETAILS:
        html = _page(title, summary, sections, preprocessor, table, detail)
        if len(html.encode("utf-8", "replace")) < LARGEST:
            break
    return html


def _page(
    title: str, summary: Sequence[str], sections: Sequence[Section], preprocessor: Preprocessor, table: Table,
    detail: Detail,
) -> str:  # fmt: skip
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"plain": lambda x: plain(str(x)), "kind": lambda b: type(b).__name__.lower()}
    source = files("polymodal.report").joinpath("report.html").read_text(encoding="utf-8")

    @cache
    def shown(row: int) -> list[Look]:
        return looks(preprocessor, table, row, detail)

    return environment.from_string(source).render(
        title=title,
        summary=summary,
        sections=sections,
        looks=shown,
        pictures=detail.side > 0,
        hint="" if available() else HINT,
        version=_version(),
    )


def _version() -> str:
    try:
        return version("polymodal")
    except PackageNotFoundError:
        return ""
