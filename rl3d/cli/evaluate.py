"""``rl3d evaluate``: measure one checkpoint, or two side by side, on held-out prompts with fixed
seeds."""

from __future__ import annotations

from rl3d.cli.options import parse_with_sampling
from rl3d.evaluate import EvaluateConfig, evaluate
from rl3d.forgetting import SUMMARY
from rl3d.tables import markdown


def run(arguments: list[str]) -> None:
    config = parse_with_sampling(EvaluateConfig, "evaluate", __doc__, arguments)
    table = evaluate(config)
    print(markdown(table))
    if config.forgetting is not None and SUMMARY in table["difference"]:
        change, error, count = table["difference"][SUMMARY]
        print(f"\nnot tuned on: success rates changed by {change:+.3f} ± {error:.3f} on {count} prompts")
    print(f"\nsheet: {config.out / 'sheet.png'}")
