"""Options of a command from a typed dataclass (tyro), with its errors as one line."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable
from dataclasses import field, make_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import tyro

T = TypeVar("T")


def parse(kind: type[T], command: str, description: str | None, arguments: list[str], default: T | None = None) -> T:
    """Read ``arguments`` into a dataclass. --help prints and exits; ValueError with one line for
    arguments that do not fit."""
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
    options = kind_of.default_options
    sampling = ("sampling", type(options), field(default=options))
    wanted = make_dataclass(kind.__name__, [sampling], bases=(kind,), frozen=True)
    parsed = parse(wanted, command, description, arguments)
    return replace(parsed, sampling=None) if parsed.sampling == options else parsed  # type: ignore[attr-defined]


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
        lines = [line.strip(" │╭╮╰╯─-") for line in plain.splitlines()]
        lines = [line for line in lines if line]
        ends = ("For full helptext", "Argument helptext", "see For")
        end = next((i for i, line in enumerate(lines) if line.startswith(ends)), len(lines))
        # The first line is the title of the box. For a union, tyro repeats for each member that the
        # value does not fit.
        message = " ".join(lines[1:end]).split(" Got errors:")[0]
        raise ValueError(f"{message.rstrip('.')}; see rl3d {command} --help") from None
