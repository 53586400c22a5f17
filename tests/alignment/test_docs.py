"""Every block of docs/alignment.md runs, and gives what stands behind it where that is a value."""

import ast
import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[2] / "docs" / "alignment.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.S)


def test_there_is_something_to_run() -> None:
    assert len(BLOCKS) > 3


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for node in ast.parse(BLOCKS[number]).body:
        source = ast.get_source_segment(BLOCKS[number], node)
        after = BLOCKS[number].splitlines()[node.end_lineno - 1].partition("  # ")[2].strip()
        if isinstance(node, ast.Expr):
            got = eval(source, names)
            if re.match(r"[\[(\d-]|tensor|torch|True|False", after):
                assert repr(got) == after
        else:
            exec(source, names)
