"""JSON and YAML of any origin: whatever a parser stumbles over becomes a ValueError, and nothing
small becomes large or slow."""

from __future__ import annotations

import json
from typing import Any

_DEEPEST, _LONGEST = 50, 100_000


def parse_json(text: str | bytes) -> Any:
    """What JSON says."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def parse_yaml(text: str) -> Any:
    """What YAML says without aliases, by which a few lines can stand for more than the memory
    holds."""
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
