"""Whether an answer left the package as it found it: with a method replaced, any answer could pass."""

import sys
from collections.abc import Iterator
from types import FunctionType, ModuleType

Owner = ModuleType | type

_MISSING = object()


class Guard:
    """Remembers the package's modules, classes and functions, and Python's built-in names."""

    def __init__(self) -> None:
        self._before = [(owner, dict(vars(owner))) for owner in _owners()]
        self._codes = {
            value: (value.__code__, value.__defaults__, value.__kwdefaults__)
            for _, names in self._before
            for value in names.values()
            if isinstance(value, FunctionType)
        }

    def put_back(self) -> str | None:
        """Put back what was changed since then, and name the first of it; None if nothing was.

        What was added to a module is no change: a module is added to its package when it is imported.
        """
        changed = []
        for owner, names in self._before:
            now = dict(vars(owner))
            for name in [name for name, value in names.items() if now.get(name, _MISSING) is not value]:
                setattr(owner, name, names[name])
                changed.append(f"{owner.__name__}.{name}")
            if isinstance(owner, type):
                # Python itself adds annotations where they are asked for.
                for name in [name for name in now if name not in names and "__annot" not in name]:
                    delattr(owner, name)
                    changed.append(f"{owner.__name__}.{name}")
        for function, inside in self._codes.items():
            if (function.__code__, function.__defaults__, function.__kwdefaults__) != inside:
                function.__code__, function.__defaults__, function.__kwdefaults__ = inside
                changed.append(function.__qualname__)
        return changed[0] if changed else None


def _owners() -> Iterator[Owner]:
    for module_name, module in list(sys.modules.items()):
        if module_name == "builtins":
            yield module
        elif module_name.partition(".")[0] == "paged_demo":
            yield module
            for value in list(vars(module).values()):
                if isinstance(value, type) and value.__module__ == module_name:
                    yield value
