"""Materials of parts: finishes."""

from __future__ import annotations

FINISHES: dict[str, tuple[float, float]] = {
    "matte": (0.0, 0.95),
    "glossy": (0.0, 0.15),
    "metallic": (1.0, 0.3),
    "brushed": (1.0, 0.6),
}
"""Metallic and roughness of each named finish."""


def finish_of(metallic: float, roughness: float) -> str | None:
    """The finish nearest to a material, or None for the default one."""
    near = {None: (0.0, 0.6), **FINISHES}
    return min(near, key=lambda name: abs(near[name][0] - metallic) + abs(near[name][1] - roughness))
