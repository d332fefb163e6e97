"""The command line: ``rl3d COMMAND``, one file a command. An error of the user ends in one line and
exit code 2."""

from __future__ import annotations

import importlib
import os
import sys

COMMANDS = {
    "generate": "make assets from a prompt",
    "optimize": "sample assets from a prompt, and correct the best by its rewards",
    "train": "fine-tune a generator with reinforcement learning",
    "evaluate": "measure one or two checkpoints on held-out prompts",
    "compare": "train with several objectives for the same time, and compare them",
    "check-generator": "check that a generator keeps the contract",
    "rewards": "list the rewards, and measure what they cost",
    "report": "write one page about a training run: curves, sheets, tables",
    "pretrain": "train a generator or a scorer on the procedural corpus",
    "prefer": "choose the better of two assets in the browser",
    "train-reward": "fit a reward to such choices",
    "train-retriever": "learn which assets of a library help a generator",
    "view": "look at assets and make new ones in the browser",
    "export": "convert an asset or a file of splats",
    "replay": "make an asset again from its card, and compare",
    "doctor": "list what this machine can do, and why it cannot do the rest",
    "demo": "fine-tune for a few minutes, then generate and compare",
}


def _usage() -> str:
    lines = [f"  {name:15} {what}" for name, what in COMMANDS.items()]
    return (
        "usage: rl3d COMMAND [options]\n\ncommands:\n"
        + "\n".join(lines)
        + "\n\nrl3d COMMAND --help lists the options of a command."
    )


def main(arguments: list[str] | None = None) -> int:
    """Run one command. The exit code is 0, 2 for an error that the user can correct, or 130 after
    an interrupt."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # GCC's OpenMP reads this when torch is imported. By default its threads spin for milliseconds
    # after each task. That halves the speed if other threads need the cores, such as the
    # rasteriser's.
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
    # A user's own reward or generator (my_module:shiny) is a file in the working directory. The
    # directory comes last on the path, so that it cannot hide an installed package.
    sys.path.append("")
    try:
        importlib.import_module(f"rl3d.cli.{arguments[0].replace('-', '_')}").run(arguments[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output (head, less) has stopped
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return fail(f"cannot use {error.filename}: {error.strerror}" if error.filename else str(error))
    except (ValueError, MemoryError) as error:
        return fail(str(error))
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    return 0


def fail(message: str) -> int:
    """Print one line on standard error; the exit code to return."""
    print(f"rl3d: {' '.join(message.split())}", file=sys.stderr)
    return 2
