"""The command line: ``rl3d COMMAND``. One file a command; what a user got wrong ends in one line
and exit code 2."""

from __future__ import annotations

import importlib
import os
import sys

COMMANDS = {
    "generate": "make assets from a prompt",
    "train": "fine-tune the generator with reinforcement learning",
    "evaluate": "measure one or two checkpoints on held-out prompts",
    "rewards": "what there is to reward, and what it costs here",
    "report": "one page about a training run: curves, sheets, tables",
    "pretrain": "train the generator or a scorer from the procedural corpus",
    "prefer": "choose between two assets in the browser, again and again",
    "train-reward": "fit a reward to such choices",
    "view": "look at assets and make new ones in the browser",
    "export": "convert an asset or a splat file",
    "replay": "make an asset again from its card, and compare",
    "doctor": "what this machine can do, and why it cannot do the rest",
    "demo": "the tour: fine-tune for a few minutes, then generate",
}


def _usage() -> str:
    lines = [f"  {name:12} {what}" for name, what in COMMANDS.items()]
    return (
        "usage: rl3d COMMAND [options]\n\ncommands:\n"
        + "\n".join(lines)
        + "\n\nrl3d COMMAND --help says what a command takes."
    )


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code is 0, 2 for what the user can mend, or 130 after an
    interrupt."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # Read by GCC's OpenMP when torch is imported. By default its threads spin for milliseconds
    # after each piece of work, which halves the speed where something else wants the cores, the
    # rasteriser's own threads included.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        import rl3d

        print(f"rl3d {rl3d.__version__}")
        return 0
    if arguments[0] not in COMMANDS:
        return fail(f"unknown command {arguments[0]!r}: choose one of {', '.join(COMMANDS)}")
    # A user's own reward, --rewards my_module:shiny, lies where they are; last, so that it can hide
    # nothing installed.
    sys.path.append("")
    try:
        importlib.import_module(f"rl3d.cli.{arguments[0].replace('-', '_')}").run(arguments[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, MemoryError) as error:
        return fail(str(error))
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    return 0


def fail(message: str) -> int:
    """Print one line on standard error; the exit code to return."""
    print(f"rl3d: {' '.join(message.split())}", file=sys.stderr)
    return 2
