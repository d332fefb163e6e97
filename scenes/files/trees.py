"""JSON and YAML from untrusted files: every parser error becomes a ValueError, and small inputs
cannot take much memory or time."""

from __future__ import annotations

import json
from typing import Any

_DEEPEST, _LONGEST = 50, 100_000


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def parse_yaml(text: str) -> Any:
    """The value of a YAML text. Aliases are refused, because a few lines of them can fill the
    memory."""
    import yaml

    if len(text) > _LONGEST:  # PyYAML reads some 30,000 letters a second
        raise ValueError("it is too long")
    try:
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > _DEEPEST:
                raise ValueError("it has aliases or is nested too deep")
        return yaml.safe_load(text)
    except Exception as error:  # besides YAMLError, what dates, numbers and nesting run into
        raise ValueError(f"it is not YAML ({error or type(error).__name__})") from error
