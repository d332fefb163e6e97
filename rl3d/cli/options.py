"""Options of a command from a typed dataclass (tyro), with its errors as one line."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable
from typing import TypeVar

import tyro

T = TypeVar("T")


def parse(kind: type[T], command: str, description: str | None, arguments: list[str], default: T | None = None) -> T:
    """Read ``arguments`` into a dataclass; --help prints and exits, what does not fit raises
    ValueError with one line."""
    if default is None:
        return one_line(
            command, lambda: tyro.cli(kind, prog=f"rl3d {command}", description=description, args=arguments)
        )
    return one_line(
        command,
        lambda: tyro.cli(kind, prog=f"rl3d {command}", description=description, args=arguments, default=default),
    )


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
        end = next(
            (
                i
                for i, line in enumerate(lines)
                if line.startswith(("For full helptext", "Argument helptext", "see For"))
            ),
            len(lines),
        )
        # The first line is the box's title. What each member of a union says of a value would only
        # repeat that it does not fit.
        message = " ".join(lines[1:end]).split(" Got errors:")[0]
        raise ValueError(f"{message.rstrip('.')}; see rl3d {command} --help") from None
