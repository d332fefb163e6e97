"""Named colours, the base colour each stands for, and the nearest name of a measured colour (in
Oklab).

Reference: Ottosson, A perceptual color space for image processing, 2020.
"""

from __future__ import annotations

from functools import cache

import numpy as np

_NAMES: dict[str, dict[str, tuple[float, float, float]]] = {
    "red": {
        "red": (0.84, 0.12, 0.12),
        "crimson": (0.72, 0.06, 0.18),
        "scarlet": (0.92, 0.15, 0.06),
        "ruby": (0.62, 0.03, 0.16),
        "maroon": (0.45, 0.03, 0.08),
    },
    "orange": {"orange": (0.96, 0.50, 0.06), "tangerine": (0.98, 0.44, 0.12), "amber": (0.97, 0.60, 0.10)},
    "yellow": {
        "yellow": (0.97, 0.84, 0.12),
        "lemon": (0.98, 0.93, 0.32),
        "golden": (0.86, 0.69, 0.14),
        "mustard": (0.80, 0.68, 0.12),
    },
    "green": {
        "green": (0.15, 0.60, 0.20),
        "olive": (0.43, 0.47, 0.12),
        "lime": (0.58, 0.85, 0.16),
        "emerald": (0.05, 0.54, 0.33),
        "forest green": (0.07, 0.34, 0.14),
        "mint": (0.58, 0.89, 0.66),
    },
    "blue": {
        "blue": (0.13, 0.32, 0.84),
        "navy": (0.07, 0.12, 0.40),
        "azure": (0.12, 0.50, 0.93),
        "sky blue": (0.48, 0.72, 0.96),
        "royal blue": (0.16, 0.24, 0.68),
    },
    "purple": {
        "purple": (0.48, 0.16, 0.64),
        "violet": (0.54, 0.30, 0.84),
        "lavender": (0.72, 0.60, 0.92),
        "plum": (0.38, 0.12, 0.42),
    },
    "pink": {
        "pink": (0.96, 0.56, 0.72),
        "magenta": (0.84, 0.10, 0.60),
        "fuchsia": (0.92, 0.22, 0.68),
        "hot pink": (0.98, 0.36, 0.60),
    },
    "brown": {"brown": (0.45, 0.27, 0.13), "chocolate": (0.30, 0.17, 0.09), "chestnut": (0.50, 0.25, 0.17)},
    "beige": {"beige": (0.86, 0.76, 0.58), "cream": (0.95, 0.89, 0.74), "tan": (0.78, 0.63, 0.43)},
    "white": {"white": (0.96, 0.96, 0.96), "snow white": (0.98, 0.98, 0.99)},
    "gray": {
        "gray": (0.50, 0.51, 0.53),
        "grey": (0.50, 0.51, 0.53),
        "silver": (0.73, 0.75, 0.78),
        "charcoal": (0.26, 0.27, 0.29),
    },
    "black": {"black": (0.05, 0.05, 0.06), "jet black": (0.03, 0.03, 0.04)},
    "cyan": {
        "cyan": (0.10, 0.79, 0.84),
        "turquoise": (0.18, 0.80, 0.72),
        "teal": (0.04, 0.50, 0.51),
        "aqua": (0.35, 0.88, 0.88),
    },
}

BASE_COLORS: tuple[str, ...] = tuple(_NAMES)
COLORS: dict[str, tuple[float, float, float]] = {name: rgb for names in _NAMES.values() for name, rgb in names.items()}
"""sRGB of every colour name that a caption of the corpus uses, synonyms included."""
BASE_OF: dict[str, str] = {name: base for base, names in _NAMES.items() for name in names}
"""The base colour that a name stands for in the checks and in the held-out split."""
SYNONYMS: dict[str, tuple[str, ...]] = {base: tuple(names) for base, names in _NAMES.items()}


def oklab(rgb: np.ndarray) -> np.ndarray:
    """Oklab coordinates of sRGB colours in [0, 1], (..., 3)."""
    rgb = np.clip(rgb, 0, 1)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _RGB_TO_LMS) @ _LMS_TO_LAB


def nearest_base(rgb: np.ndarray) -> list[str]:
    """Base colour of each of (n, 3) sRGB colours: that of the nearest name, synonyms included, so
    that navy counts as blue."""
    names, table = _oklab_table()
    apart = ((oklab(np.asarray(rgb))[:, None] - table) ** 2).sum(-1)
    return [BASE_OF[names[i]] for i in apart.argmin(1)]


@cache
def _oklab_table() -> tuple[list[str], np.ndarray]:
    return list(COLORS), oklab(np.array(list(COLORS.values())))


_RGB_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
).T
_LMS_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
).T
