"""Objects <-> JSON through constructor signatures, so that saving is free.

An object's specification is ``{"class": name, "args": {...}, "fitted": {...}}``: each constructor argument, kept by
the object under its own name, and each attribute whose name ends in "_" (what `fit` learned, JSON values only).
Reading a specification never imports what it names: the class must be in the tables handed to `build`.
"""

import difflib
import inspect
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from polymodal.errors import InputError
from polymodal.nn import Named


def spec(x: Any) -> Any:
    """The JSON form of an object, a module, or a container of them.

    >>> from polymodal.nn import Pool
    >>> spec(Pool(4))
    {'class': 'Pool', 'args': {'dim': 4}}
    """
    if x is None or isinstance(x, bool | int | str):
        return x
    if isinstance(x, float):
        return x if math.isfinite(x) else {"float": str(x)}
    if isinstance(x, Named):
        return {"items": {k: spec(v) for k, v in x.items()}}
    if isinstance(x, Mapping):
        return {"items": {str(k): spec(v) for k, v in x.items()}}
    if isinstance(x, list | tuple):
        return [spec(v) for v in x]
    out = {"class": type(x).__name__, "args": {k: spec(getattr(x, k)) for k in arguments(type(x))}}
    if state := {k: spec(v) for k, v in vars(x).items() if k.endswith("_") and not k.startswith("_")}:
        out["fitted"] = state
    return out


def objects(form: Any, x: Any, method: str) -> Iterator[tuple[dict[str, Any], Any]]:
    """The objects in x's specification that have this method, each with the part that describes it; nothing within
    one of them."""
    if isinstance(x, Named | Mapping):
        for k, v in x.items():
            yield from objects(form["items"][str(k)], v, method)
    elif isinstance(x, list | tuple):
        for inner, v in zip(form, x, strict=True):
            yield from objects(inner, v, method)
    elif isinstance(form, dict) and "class" in form:
        if hasattr(x, method):
            yield form, x
            return
        for k in form["args"]:
            yield from objects(form["args"][k], getattr(x, k), method)


def build(form: Any, classes: Mapping[str, type]) -> Any:
    """The object that `spec` described, from the classes given.

    Raises InputError for a class that is in no table, or an argument that its class does not take.
    """
    if isinstance(form, list):
        return [build(v, classes) for v in form]
    if not isinstance(form, dict):
        return form
    if "float" in form:
        return float(form["float"])
    if "items" in form:
        return {k: build(v, classes) for k, v in form["items"].items()}
    name = str(form.get("class"))
    if name not in classes:
        raise InputError(
            f"the saved model uses a class {name!r} that polymodal does not have; load it with the class at hand: "
            "polymodal.load(folder, custom_classes=[TheClass]), or --custom-class mypackage.mymodule:TheClass"
        )
    args = {k: build(v, classes) for k, v in form["args"].items()}
    x = construct(classes[name], **args)
    for k, v in form.get("fitted", {}).items():
        setattr(x, k, build(v, classes))
    return x


def construct(cls: type, **args: Any) -> Any:
    """``cls(**args)``, with an error that names the wrong argument, the nearest right one and all that exist."""
    names = arguments(cls)
    for k in args:
        if k not in names:
            near = difflib.get_close_matches(k, names, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise InputError(f"{cls.__name__} has no argument {k!r}; {hint}It takes: {', '.join(names)}")
    return cls(**args)


def arguments(cls: type) -> list[str]:
    """Names of the constructor's arguments."""
    return [k for k in inspect.signature(cls).parameters if k not in ("args", "kwargs")]


def table(*parts: Iterable[type]) -> dict[str, type]:
    """Classes by their own name, for `build`. No two of them may share one."""
    every = dict.fromkeys(cls for part in parts for cls in part)
    out = {cls.__name__: cls for cls in every}
    assert len(out) == len(every), f"of one name: {sorted(c.__name__ for c in every if out[c.__name__] is not c)}"
    return out
