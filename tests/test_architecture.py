"""The shape of the package: levels of imports, complete tables, true public names, light imports."""

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import polymodal
from cases import over

ROOT = Path(polymodal.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
LEVELS = [  # a module may import its own package, and what stands in a line above its own
    "errors batch progress output levels",
    "saving ops view hardware",
    "nn metrics retrieval",
    "sentences",
    "spec quantize",
    "modalities fusion tasks",
    "decoders",
    "heads alignment",
    "learners",
    "data colearn",
    "objectives",
    "training",
    "evaluate",
    "uncertainty folder",
    "scoring",
    "summary",
    "aligned",
    "model",
    "extract",
    "experiment",
    "estimators explain robustness",
    "report",
    "polymodal",  # the public names
    "demo",
    "cli",
    "__main__",
]
PARTS = {p.stem for p in ROOT.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
NAMED = 0  # kinds of modality, as strings, outside their folders
BRANCHES = 25  # questions after one of our own classes, outside the package that defines it; may only fall
LEVEL = {name: i for i, line in enumerate(LEVELS) for name in line.split()}
HEAVY = {"torch", "pandas", "PIL", "transformers", "sklearn", "scipy", "soundfile", "accelerate"}
MAIN = "try:\n  main()\nexcept SystemExit as e:\n  assert not e.code"


def part(path: Path) -> str:
    """Which word of LEVELS a file belongs to."""
    first = path.relative_to(ROOT).parts[0].removesuffix(".py")
    return "polymodal" if first == "__init__" else first


def imported(source: str) -> Iterator[str]:
    """Parts of polymodal that a source imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            inside = [f"polymodal.{a.name}" for a in node.names] if node.module == "polymodal" else []
            modules = inside or [node.module or ""]
        else:
            continue
        for module in modules:
            top, _, rest = module.partition(".")
            if top == "polymodal":
                name = rest.split(".")[0]
                yield name if name in PARTS else "polymodal"


@over("path", FILES)
def test_imports_run_downward_only(path: Path) -> None:
    here = part(path)
    assert here in LEVEL, f"{path.name} stands in no level: add it to LEVELS and to docs/architecture.md"
    if here == "polymodal":
        return  # names of the public interface, from everywhere, and only when they are used
    above = {m for m in imported(path.read_text(encoding="utf-8")) if m != here and LEVEL[m] >= LEVEL[here]}
    assert not above, f"{path.relative_to(ROOT)} imports {sorted(above)}, which stand at or above its own level"


def test_the_parser_of_imports_sees_every_form() -> None:
    inner = "def f():\n    from polymodal import nn, fit\n    from polymodal.data.table import Table"
    source = f"import torch, polymodal.ops as o\nimport polymodal\n{inner}"
    assert sorted(imported(source)) == ["data", "nn", "ops", "polymodal", "polymodal"]


def own_classes(sources: dict[str, str]) -> dict[str, set[str]]:
    """The classes that these sources define, by name: the packages that define one of that name."""
    out: dict[str, set[str]] = {}
    for name, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                out.setdefault(node.name, set()).add(name.partition("/")[0])
    return out


def branches(sources: dict[str, str]) -> list[str]:
    """Where a source asks isinstance or issubclass of a class of another package: file, line and class."""
    own, out = own_classes(sources), []
    for name, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            match node:
                case ast.Call(func=ast.Name(id="isinstance" | "issubclass"), args=[_, asked]):
                    parts = list(ast.walk(asked))
                    named = {x.id for x in parts if isinstance(x, ast.Name)}
                    named |= {x.attr for x in parts if isinstance(x, ast.Attribute)}
                    foreign = sorted(n for n in named if n in own and name.partition("/")[0] not in own[n])
                    out += [f"{name}:{node.lineno} {n}" for n in foreign]
    return out


def test_who_asks_what_class_a_thing_has_asks_it_in_the_package_that_made_it() -> None:
    """Elsewhere a method or a capability is asked. BRANCHES is the number of the day, lowered with each that goes."""
    found = branches({p.relative_to(ROOT).as_posix(): p.read_text(encoding="utf-8") for p in FILES})
    assert len(found) <= BRANCHES, "\n".join([f"{len(found)} branches, {BRANCHES} allowed", *found])


def test_the_counter_of_branches_sees_every_form() -> None:
    a = "class A: ...\nclass B: ...\nisinstance(x, A)"
    b = "isinstance(x, A | B)\nisinstance(x, (int, a.A))\nissubclass(type(x), B) and isinstance(x, int | str)"
    assert [x.split() for x in branches({"a/one.py": a, "b/two.py": b})] == [
        ["b/two.py:1", "A"], ["b/two.py:1", "B"], ["b/two.py:2", "A"], ["b/two.py:3", "B"]
    ]  # fmt: skip


def kinds_named(sources: dict[str, str], kinds: set[str]) -> list[str]:
    """Where a source names a kind of modality: as a string by itself, but for a key of one such name among others, as
    a form in JSON has ("text")."""
    out = []
    for name, source in sources.items():
        tree, keys = ast.parse(source), set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Dict):
                named = [k for k in node.keys if isinstance(k, ast.Constant) and k.value in kinds]
                keys |= {id(k) for k in named} if len(named) == 1 else set()
        found = (n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str))
        out += [f"{name}:{n.lineno} {n.value}" for n in found if n.value in kinds and id(n) not in keys]
    return out


def test_a_kind_is_named_in_its_own_folder_alone() -> None:
    """Elsewhere the record is asked. NAMED is the number of the day, lowered with each that goes."""
    from polymodal.modalities import MODALITIES, NOT_YET

    kinds = {k for m in MODALITIES.values() for k in (m.kind, *m.kinds)} | {*NOT_YET}
    own = {inspect.getmodule(m.codec).__name__.split(".")[2]: {m.kind, *m.kinds} for m in MODALITIES.values()}
    found = []
    for path in FILES:
        name = path.relative_to(ROOT).as_posix()
        if name.startswith("data/public") or name == "modalities/__init__.py":
            continue  # tables of public sets have columns of such names; the table of kinds
        folder = name.split("/")[1] if name.startswith("modalities/") else ""
        found += kinds_named({name: path.read_text(encoding="utf-8")}, kinds - own.get(folder, set()))
    assert len(found) <= NAMED, "\n".join([f"{len(found)} names, {NAMED} allowed", *found])


def test_the_counter_of_kinds_sees_every_form() -> None:
    source = 'if kind == "text": x = {"text": 1, "y": 2}\nLOOKS = {"text": a, "image": b}\nf("image", ("audio",), "an image")'
    found = kinds_named({"a.py": source}, {"text", "image", "audio"})
    assert sorted(x.split()[1] for x in found) == ["audio", "image", "image", "text", "text"]


def concrete(folder: str, base: type) -> set[type]:
    """Subclasses of `base` that are defined in a folder of the package, or one inside it, and can be made."""
    package = importlib.import_module(f"polymodal.{folder}")
    names = [m.name for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    modules = [importlib.import_module(name) for name in names]
    return {
        c
        for module in modules
        for c in vars(module).values()
        if inspect.isclass(c) and issubclass(c, base) and not inspect.isabstract(c) and c.__module__ == module.__name__
    }


def test_every_codec_encoder_and_extractor_is_in_the_table_of_modalities() -> None:
    from polymodal.modalities import MODALITIES, PRETRAINED
    from polymodal.modalities.base import Codec, Encoder
    from polymodal.modalities.extractor import Extractor
    from polymodal.modalities.features import Features

    hub = {m.hub for m in MODALITIES.values() if m.hub is not None}
    named = {c for m in MODALITIES.values() for c in (*m.codecs.values(), *m.encoders.values())}
    found = concrete("modalities", Codec) | concrete("modalities", Encoder)
    assert len(found) > 10
    assert found == named | hub | {Features, *PRETRAINED}
    assert concrete("modalities", Extractor) == {e for m in MODALITIES.values() for e in m.extractors.values()}


def test_every_fusion_is_in_the_table_of_fusions() -> None:
    from polymodal.fusion import FUSIONS
    from polymodal.fusion.base import Fusion

    found = concrete("fusion", Fusion)
    assert len(found) > 5
    assert found == set(FUSIONS.values())


def test_every_task_is_in_the_table_of_tasks() -> None:
    from polymodal.tasks import TASKS
    from polymodal.tasks.base import Task

    found = concrete("tasks", Task)
    assert len(found) > 3
    assert found == set(TASKS.values())


def test_every_head_is_in_the_table_of_heads() -> None:
    from polymodal.heads import HEADS
    from polymodal.heads.base import Head

    found = concrete("heads", Head)
    assert len(found) > 3
    assert found == set(HEADS)


def test_concrete_classes_are_not_subclassed() -> None:
    from polymodal.fusion.base import Fusion
    from polymodal.heads.base import Head
    from polymodal.modalities.base import Codec, Encoder
    from polymodal.tasks.base import Task

    for folder, bases in (
        ("modalities", (Codec, Encoder)),
        ("fusion", (Fusion,)),
        ("heads", (Head,)),
        ("tasks", (Task,)),
    ):
        for base in bases:
            classes = concrete(folder, base)
            assert not [c for c in classes if classes & set(c.__mro__[1:])]


def test_public_names_are_true_and_few() -> None:
    assert len(polymodal.__all__) == len(set(polymodal.__all__)) <= 40
    for name in polymodal.__all__:
        assert getattr(polymodal, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = polymodal.nothing


def test_type_checkers_see_the_names_that_are_loaded_when_used() -> None:
    (block,) = [n for n in ast.parse((ROOT / "__init__.py").read_text()).body if isinstance(n, ast.If)]
    seen = {(a.asname or a.name): n.module for n in block.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert sorted(seen) == sorted(polymodal.__all__)
    for name, module in seen.items():
        assert getattr(importlib.import_module(str(module)), name) is getattr(polymodal, name)


@pytest.mark.parametrize("action", ["import polymodal", "import polymodal.cli", "help", "help fit", "version"])
def test_import_and_help_are_light(action: str) -> None:
    words = {"help": ["--help"], "help fit": ["fit", "--help"], "version": ["--version"]}.get(action)
    code = action if words is None else f"sys.argv[1:] = {words}\nfrom polymodal.cli import main\n{MAIN}"
    report = "print('loaded:', *{m.partition('.')[0] for m in sys.modules})"
    script = f"import sys\n{code}\n{report}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.rpartition("loaded:")[2].split())
    assert "polymodal" in loaded
    assert not loaded & HEAVY


@over("path", FILES)
def test_files_are_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= 400, f"{path.relative_to(ROOT)} has {lines} lines: split it by idea"


@over("path", FILES)
def test_nothing_is_pickled(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {a.name for a in node.names} | {getattr(node, "module", None)}
            assert not names & {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) not in {("torch", "load"), ("torch", "save")}, f"line {node.lineno}"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant) and node.value.value is False, f"line {node.value.lineno}"


def test_what_a_package_says_that_it_gives_is_there() -> None:
    for path in FILES:
        names = path.relative_to(ROOT.parent).with_suffix("").parts
        module = ".".join(names[:-1] if names[-1] == "__init__" else names)
        if "__all__" in path.read_text(encoding="utf-8"):
            found = importlib.import_module(module)
            assert not [n for n in found.__all__ if not hasattr(found, n)], module


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def test_public_functions_have_at_most_14_parameters() -> None:
    """What is asked seldom stands in records; the command line is flat."""
    for path in FILES:
        if part(path) == "cli":
            continue
        for f in functions(ast.parse(path.read_text(encoding="utf-8"))):
            count = len([*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs])
            assert f.name.startswith("_") or count <= 14, f"{path.relative_to(ROOT)}: {f.name} has {count} parameters"


IRREGULAR = (
    "said told lit found begun asked given kept made drawn shown held seen known done gone taken left written chosen met "
    "heard put cut built lost grown thrown hidden spent sent spoken broken fallen felt meant led laid taught thought won"
)
NOUNS = ("seed", "need", "speed", "feed", "embed", "weed")
BARE = 0.015  # of all names that are given: it may only fall


def test_few_names_are_bare_participles() -> None:
    """A variable is a noun and a function a verb: what was found, asked or told is a match, an option or a note."""
    names: list[str] = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.append(node.name)
            elif isinstance(node, ast.arg):
                names.append(node.arg)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.append(node.id)
    words = [n.strip("_").lower() for n in names]
    known = IRREGULAR.split()
    bare = [w for w in words if w in known or (w.isalpha() and w.endswith("ed") and len(w) > 4 and w not in NOUNS)]
    assert len(bare) <= BARE * len(names), f"{len(bare)} of {len(names)} names are bare participles"
