"""The fields of a ``config.json``, each read by name and checked."""

import json
from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from paged_demo.checks import came, check_bool, check_count


class ConfigError(ValueError):
    """A config that cannot be read; its text names the field and what came."""


class Fields:
    """A config's fields. What was looked for and not found is remembered, for messages."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def get(self, name: str) -> Any:
        """Return what stands there, or None."""
        return self._values.get(name)

    def found(self, *names: str) -> str:
        """Return the first of these names that the config has.

        Raises
        ------
        ConfigError
            If it has none; the error names all.
        """
        for name in names:
            if name in self:
                return name
        raise ConfigError(f"config.json has no {' or '.join(names)}, which {self.kind} needs")

    def number(self, *names: str) -> int:
        """Return the whole number under the first of these names.

        Raises
        ------
        ConfigError
            If there is none, or it is no whole number above 0.
        """
        name = self.found(*names)
        try:
            return check_count(f"{name} of config.json", self.get(name))
        except (TypeError, ValueError) as error:
            raise ConfigError(str(error)) from None

    def number_or(self, default: int, *names: str) -> int:
        """Return the whole number under the first of these names, or the default if there is none."""
        return self.number(*names) if any(name in self for name in names) else default

    def flag(self, name: str, default: bool) -> bool:
        """Return True or False under this name, or the default.

        Raises
        ------
        ConfigError
            If it is neither.
        """
        try:
            return check_bool(f"{name} of config.json", self.get(name)) if name in self else default
        except TypeError as error:
            raise ConfigError(str(error)) from None

    def sequence(self, name: str, kind: type) -> list[Any]:
        """Return the list under this name, all of whose elements are of this type.

        Raises
        ------
        ConfigError
            If it is no such list.
        """
        values = self.get(name)
        if not isinstance(values, list) or not all(type(value) is kind for value in values):
            what = {str: "texts", int: "whole numbers"}[kind]
            raise ConfigError(f"{name} of config.json must be a list of {what}, got {came(values)}")
        return values

    def inner(self, name: str) -> "Fields":
        """Return the fields of the object under this name.

        Raises
        ------
        ConfigError
            If there is no object.
        """
        values = self.get(name)
        if not isinstance(values, Mapping):
            raise ConfigError(f"{name} of config.json must be an object with fields, got {came(values)}")
        return Fields(values)

    @property
    def kind(self) -> str:
        """The model's type as the config names it, or its architecture."""
        for name in ("model_type", "architectures"):
            if name in self:
                value = self.get(name)
                return str(value[0] if isinstance(value, list) and value else value)
        return "a model without model_type"


def load_fields(config: str | PathLike[str] | Mapping[str, Any]) -> tuple[Fields, Fields]:
    """Return a config's own fields, and those of its language model.

    Raises
    ------
    ConfigError
        If it cannot be read, or is no JSON object.
    """
    values: Any = config
    if not isinstance(config, Mapping):
        try:
            path = Path(fspath(config))
        except TypeError:
            raise ConfigError(
                f"config must be the path of a config.json, or its fields, got {came(config)}"
            ) from None
        values = _load(path)
    if not isinstance(values, Mapping):
        raise ConfigError(f"config.json must be an object with fields, got {came(values)}")
    whole = Fields(values)
    return whole, whole.inner("text_config") if "text_config" in whole else whole


def _load(path: Path) -> Any:
    if path.is_dir():
        raise ConfigError(f"{path} is a directory; give the path of the config.json in it")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as a config.json: {error}") from None
    try:
        return json.loads(text, object_pairs_hook=_each_once)
    except ConfigError as error:
        raise ConfigError(f"{path} {error}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no JSON: {error}") from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"must name each field once, got {came(twice)} more than once")
    return fields
