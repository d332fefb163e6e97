"""Part assets: a set of tapered superquadrics, decoded differentiably to Gaussians, meshes, a
density field and rigid bodies.

``Parts`` is built up in layers, one file each: ``data`` (the numbers, laid out as in ``layout``),
``geometry``, ``contacts`` and ``tessellation`` (Gaussians and meshes).
"""

from scenes.parts.contacts import TOUCH_TOLERANCE, clusters
from scenes.parts.geometry import taper_factor
from scenes.parts.layout import (
    AXIS_X,
    AXIS_Y,
    CENTRE,
    CENTRE_X,
    CENTRE_Y,
    CENTRE_Z,
    COLOR,
    EAST,
    EXISTENCE,
    EXPONENTS,
    LOG_HALF_SIZE,
    LOG_HALF_X,
    LOG_HALF_Y,
    LOG_HALF_Z,
    MAX_EXPONENT,
    MAX_HALF_SIZE,
    MAX_PARTS,
    MAX_TAPER,
    MIN_EXPONENT,
    MIN_HALF_SIZE,
    NORTH,
    ROTATION,
    TAPER,
    UPRIGHT,
    VECTOR_SIZE,
)
from scenes.parts.light import LIGHT, shaded, shading
from scenes.parts.tessellation import Parts

__all__ = [
    "AXIS_X",
    "AXIS_Y",
    "CENTRE",
    "CENTRE_X",
    "CENTRE_Y",
    "CENTRE_Z",
    "COLOR",
    "EAST",
    "EXISTENCE",
    "EXPONENTS",
    "LIGHT",
    "LOG_HALF_SIZE",
    "LOG_HALF_X",
    "LOG_HALF_Y",
    "LOG_HALF_Z",
    "MAX_EXPONENT",
    "MAX_HALF_SIZE",
    "MAX_PARTS",
    "MAX_TAPER",
    "MIN_EXPONENT",
    "MIN_HALF_SIZE",
    "NORTH",
    "ROTATION",
    "TAPER",
    "TOUCH_TOLERANCE",
    "UPRIGHT",
    "VECTOR_SIZE",
    "Parts",
    "clusters",
    "shaded",
    "shading",
    "taper_factor",
]
