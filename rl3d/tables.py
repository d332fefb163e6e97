"""The table of an evaluation: means over prompts with their standard errors."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from scenes.files import FileError, atomic_write
from scenes.files.trees import parse_json


class Estimate(NamedTuple):
    """A mean over prompts."""

    mean: float
    error: float
    """Standard error."""
    prompts: int
    """Prompts that count: those for which the figure is defined."""


Table = dict[str, dict[str, Estimate]]
"""{column: {figure: estimate}}. Columns are "before" and, of two checkpoints, "after" and
"difference"."""


def compare(before: dict[str, Tensor], after: dict[str, Tensor] | None, samples: int) -> Table:
    """The table of one checkpoint's figures, or of two side by side with their difference, which is
    paired prompt by prompt.

    A figure has one value an asset, prompt by prompt with ``samples`` assets each; NaN where it
    does not apply. Figures that apply to no prompt are left out.
    """
    columns = {"before": {name: per_prompt(values, samples) for name, values in before.items()}}
    if after is not None:
        # Generators of two kinds share some figures only: parts are counted where there are parts.
        shared = [name for name in before if name in after]
        columns["before"] = {name: columns["before"][name] for name in shared}
        columns["after"] = {name: per_prompt(after[name], samples) for name in shared}
        columns["difference"] = {name: columns["after"][name] - columns["before"][name] for name in shared}
    table = {column: {name: mean_and_error(v) for name, v in found.items()} for column, found in columns.items()}
    defined = [name for name in table["before"] if all(found[name].prompts for found in table.values())]
    return {column: {name: found[name] for name in defined} for column, found in table.items()}


def per_prompt(values: Float[Tensor, "n"], samples: int) -> Float[Tensor, "p"]:
    """Mean over the ``samples`` assets of each prompt; NaN where the figure does not apply."""
    return values.view(-1, samples).nanmean(1)


def mean_and_error(per_prompt: Float[Tensor, "p"]) -> Estimate:
    """Mean and standard error over the prompts whose value is not NaN."""
    kept = per_prompt[~per_prompt.isnan()]
    error = kept.std().item() / math.sqrt(len(kept)) if len(kept) > 1 else 0.0
    return Estimate(kept.mean().item() if len(kept) else math.nan, error, len(kept))


def mean_of_seeds(per_prompt: Float[Tensor, "s p"]) -> Estimate:
    """Mean over S seeds that were measured on the same P prompts. The standard error is that of
    other seeds and other prompts (crossed random effects). Of one seed it is that of the prompts.
    """
    kept = per_prompt[:, ~per_prompt.isnan().any(0)]
    seeds, prompts = kept.shape
    if min(seeds, prompts) < 2:
        return mean_and_error(kept.flatten())._replace(prompts=prompts)
    of_seeds, of_prompts, mean = kept.mean(1, keepdim=True), kept.mean(0), kept.mean()
    # Mean squares: each has the variance of the rest in it, which must count once.
    between_seeds, between_prompts = prompts * of_seeds.var(), seeds * of_prompts.var()
    rest = (kept - of_seeds - of_prompts + mean).square().sum() / ((seeds - 1) * (prompts - 1))
    largest = max(between_seeds, between_prompts)
    variance = max(between_seeds + between_prompts - rest, largest) / (seeds * prompts)
    return Estimate(mean.item(), math.sqrt(variance), prompts)


def cells(table: Table) -> dict[str, list[str]]:
    """The text of every row: an estimate a column, then the number of prompts."""
    rows = {}
    for name, (_, _, count) in table["before"].items():
        rows[name] = [
            f"{found[name][0]:{'+' if column == 'difference' else ''}.3f} ± {found[name][1]:.3f}"
            for column, found in table.items()
        ] + [str(count)]
    return rows


def markdown(table: Table) -> str:
    """The table as Markdown: a row a figure, a column a checkpoint."""
    lines = ["| figure | " + " | ".join(table) + " | prompts |", "|---|" + "---|" * (len(table) + 1)]
    return "\n".join([*lines, *(f"| {name} | " + " | ".join(row) + " |" for name, row in cells(table).items())])


def write_table(folder: Path, table: Table, generators: list[dict[str, Any]]) -> None:
    """Write table.json, with what each generator is, and table.md."""
    with atomic_write(folder / "table.json") as temporary:
        temporary.write_text(json.dumps({"generators": generators, "table": table}, indent=2) + "\n")
    with atomic_write(folder / "table.md") as temporary:
        temporary.write_text(markdown(table) + "\n")


def read_table(folder: Path) -> Table:
    """The table in the folder of an evaluation; FileError with one line if there is none."""
    path = folder / "table.json"
    try:
        found = parse_json(path.read_text(encoding="utf-8"))["table"]
        table = {
            str(column): {
                str(name): Estimate(float(mean), float(error), int(count))
                for name, (mean, error, count) in figures.items()
            }
            for column, figures in found.items()
        }
        cells(table)
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}; give the folder that rl3d evaluate wrote") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise FileError(f"cannot read {path}: rl3d evaluate did not write it") from error
    return table
