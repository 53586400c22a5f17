"""Many cases in one test: thousands of tests of a millisecond cost pytest more than what they test."""

import functools
import inspect
import reprlib
from collections.abc import Callable, Iterable
from typing import Any

Test = Callable[..., None]


def over(names: str, values: Iterable[Any]) -> Callable[[Test], Test]:
    """As `pytest.mark.parametrize`, but the cases are one test, which ends with the first that fails and names it."""
    keys, cases = names.split(", "), list(values)

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def whole(*args: Any, **kwargs: Any) -> None:
            for value in cases:
                case = dict(zip(keys, value if len(keys) > 1 else (value,), strict=True))
                try:
                    test(*args, **kwargs, **case)
                except BaseException as e:
                    e.add_note(f"the case: {', '.join(f'{k}={reprlib.repr(v)}' for k, v in case.items())}")
                    raise

        given = inspect.signature(test)
        left = [p for p in given.parameters.values() if p.name not in keys]
        whole.__signature__ = given.replace(parameters=left)  # type: ignore[attr-defined]
        return whole

    return decorate
