"""Settings as typed dataclasses: reading them from plain values, and checks that they share."""

from __future__ import annotations

import difflib
import importlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

MAX_SEED = 2**53 - 1
"""The largest --seed: every JSON reader keeps it, and torch takes the seeds made from it."""
Config = TypeVar("Config")
Base = TypeVar("Base")


def from_file(kind: type[Config], values: Any) -> Config:
    """A config dataclass from the fields in a file; ValueError for an unknown field or a wrong
    type."""
    hints, fields = get_type_hints(kind), {}
    for name, value in values.items() if isinstance(values, dict) else [("", values)]:
        if name not in hints or not _fits(value, hints[name]):
            raise ValueError(f"{name} = {value!r}")
        is_path = isinstance(value, str) and Path in (hints[name], *get_args(hints[name]))
        fields[name] = Path(value) if is_path else value
    return kind(**fields)


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_args(hint):  # a union
        return any(_fits(value, one) for one in get_args(hint))
    if hint is float:
        return type(value) in (int, float) and abs(value) < 1e300
    return isinstance(value, (str, Path)) if hint is Path else type(value) is hint


def find_class(what: str, name: str, known: Mapping[str, str], base: type[Base]) -> type[Base]:
    """The class called ``name``: a key of ``known``, whose values are dotted paths, or a dotted
    path ``module:Class`` itself. ValueError with one line if it is no subclass of ``base``."""
    if ":" not in name and name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"unknown {what} {name!r}{hint} (known: {', '.join(known)}, or module:Class of your own)")
    module_name, _, attribute = known.get(name, name).partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module_name == missing or module_name.startswith(f"{missing}."):
            raise ValueError(f"{what} {name!r}: there is no module {missing!r} here") from None
        raise ValueError(f"{what} {name!r} needs the package {missing!r}, which is not installed") from error
    found = getattr(module, attribute, None)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(f"{what} {name!r}: {attribute!r} is no subclass of {base.__module__}.{base.__name__}")
    return found


def as_paths(config: Any, *names: str) -> None:
    """Turn the named fields of a frozen config into paths: callers may give strings. ValueError
    for an empty string, which would mean the current folder."""
    for name in names:
        if getattr(config, name) == "":
            raise ValueError(f"--{name.replace('_', '-')} is empty: name a file or folder, or leave it out")
        if getattr(config, name) is not None:
            object.__setattr__(config, name, Path(getattr(config, name)))


def at_least(config: Any, **bounds: float) -> None:
    """ValueError with one line if a field of a config is below its bound, or not finite."""
    for name, least in bounds.items():
        if not least <= getattr(config, name) < math.inf:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {least}, got {getattr(config, name)}")


def above_0(config: Any, *names: str) -> None:
    """ValueError with one line if a field of a config is not above 0."""
    for name in names:
        if not getattr(config, name) > 0:
            raise ValueError(f"--{name.replace('_', '-')} must be above 0, got {getattr(config, name)}")


def check_seed(config: Any) -> None:
    """ValueError with one line if ``config.seed`` is not 0 to ``MAX_SEED``."""
    if not 0 <= config.seed <= MAX_SEED:
        raise ValueError(f"--seed must be at least 0 and at most {MAX_SEED}, got {config.seed}")


def excludes(config: Any, name: str, *others: str) -> None:
    """ValueError with one line if an option is given beside others that it makes meaningless: those
    that are not at their defaults."""
    for other in others:
        if getattr(config, name) is not None and getattr(config, other) != getattr(type(config), other):
            option = other.replace("_", "-")
            raise ValueError(f"--{name} excludes --{option}: leave one of them out")
