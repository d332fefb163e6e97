"""Options of a command from a typed dataclass (tyro), with its errors as one line."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable
from dataclasses import field, fields, make_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import tyro

T = TypeVar("T")


def parse(kind: type[T], command: str, description: str | None, arguments: list[str], default: T | None = None) -> T:
    """Read ``arguments`` into a dataclass. --help prints and exits; ValueError with one line for
    arguments that do not fit."""
    for name, hint in get_type_hints(kind).items():
        if Path in (hint, *get_args(hint)) and value_of(arguments, option := f"--{name.replace('_', '-')}") == "":
            raise ValueError(f"{option} is empty: name a file or folder, or leave it out")
    settings: dict[str, Any] = {} if default is None else {"default": default}
    return one_line(
        command,
        lambda: tyro.cli(kind, prog=f"rl3d {command}", description=description, args=arguments, **settings),
    )


def parse_with_sampling(kind: type[T], command: str, description: str | None, arguments: list[str]) -> T:
    """The same for a command that makes assets: a dataclass with ``checkpoint``, ``generator`` and
    ``sampling``.

    The sampling options (--sampling.NAME) are those of the generator that ``arguments`` name. If
    they are left at its defaults, ``sampling`` is None: a second generator then has its own.
    """
    from rl3d.generators.load import generator_class

    checkpoint = value_of(arguments, "--checkpoint")
    kind_of = generator_class(Path(checkpoint) if checkpoint else None, value_of(arguments, "--generator"))
    check_sampling(arguments, kind_of.name, kind_of.default_options)
    options = kind_of.default_options
    sampling = ("sampling", type(options), field(default=options))
    wanted = make_dataclass(kind.__name__, [sampling], bases=(kind,), frozen=True)
    parsed = parse(wanted, command, description, arguments)
    return replace(parsed, sampling=None) if parsed.sampling == options else parsed  # type: ignore[attr-defined]


def check_sampling(arguments: list[str], generator: str, options: Any) -> None:
    """ValueError with one line for a sampling option that the generator does not have."""
    known = [f.name.replace("_", "-") for f in fields(options)]
    for argument in arguments:
        name = argument.partition("=")[0].removeprefix("--sampling.").replace("_", "-")
        if argument.startswith("--sampling.") and name not in known:
            raise ValueError(f"generator {generator!r} has no sampling option {name}; it has: {', '.join(known)}")


def value_of(arguments: list[str], name: str) -> str | None:
    """The value of an option that is needed before the others can be parsed."""
    for i, argument in enumerate(arguments):
        if argument.startswith(f"{name}="):
            return argument.partition("=")[2]
        if argument == name and i + 1 < len(arguments):
            return arguments[i + 1]
    return None


def one_line(command: str, read: Callable[[], T]) -> T:
    """Turn tyro's boxed message and exit into a ValueError with its text on one line."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return read()
    except SystemExit as stop:
        if not stop.code:
            raise
        plain = re.sub(r"\x1b\[[0-9;]*m", "", complaint.getvalue())
        lines = [line.strip(" │╭╮╰╯─") for line in plain.splitlines()]
        lines = [line for line in lines if line.strip("-")]  # a line may begin with the name of an option
        ends = ("For full helptext", "Argument helptext", "see For")
        end = next((i for i, line in enumerate(lines) if line.startswith(ends)), len(lines))
        # The first line is the title of the box. For a union, tyro repeats for each member that the
        # value does not fit.
        message = " ".join(lines[1:end]).split(" Got errors:")[0]
        raise ValueError(f"{_plain(message).rstrip('.')}; see rl3d {command} --help") from None


def _plain(message: str) -> str:
    """Tyro's message without names of classes and types."""
    for kind, words in (("INT|int", "a whole number"), ("FLOAT|float", "a number")):
        found = re.fullmatch(rf"Error parsing (--\S+): .*\b(?:{kind})\b.*?('.*')\]?\.?", message)
        if found:
            return f"{found[1]} takes {words}, got {found[2]}"
    return re.sub(r"^Error parsing (\w+: )?", "", message)
