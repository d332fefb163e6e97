"""``rl3d doctor``: what this machine can do, what it cannot do and why, and whether the renderer
agrees with the reference."""

from __future__ import annotations

from dataclasses import dataclass

from rl3d import doctor
from rl3d.cli.options import parse


@dataclass(frozen=True)
class DoctorConfig:
    """``rl3d doctor`` takes no options."""


def run(arguments: list[str]) -> None:
    parse(DoctorConfig, "doctor", __doc__, arguments)
    print(f"rl3d {doctor.version('rl3d')}")
    _table("machine", list(doctor.machine().items()))
    _table("packages", [(name, doctor.version(name)) for name in doctor.PACKAGES])
    _table("renderers", doctor.renderers())
    error = doctor.largest_error()
    print(f"\nself-check: the renderer differs from the float64 reference by at most {error:.1e}")
    if error > doctor.TOLERANCE:
        raise ValueError(
            "the renderer does not draw what the reference draws: compile it again (python -m renderers.kernels.build)"
        )


def _table(title: str, rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    print(f"\n{title}")
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
