"""The 27 numbers of a part: where each is in a vector, and its range.

References: Barr, Superquadrics and Angle-Preserving Transformations, 1981; Zhou et al., On the
Continuity of Rotation Representations, 2019 (6D rotations).
"""

VECTOR_SIZE = 27
SHAPE_SIZE = 19
"""Numbers of a part without those of its material. Older files and networks have only these."""
PART_SIZES = (VECTOR_SIZE, SHAPE_SIZE)
"""How many numbers of a part ``Parts.from_vectors`` takes."""
EXISTENCE = 0
"""Above 0 for a part that is there."""
EXPONENTS = slice(1, 3)
"""From 0.1, box-like, to 1, round."""
NORTH, EAST = 1, 2
"""The two exponents: of the outline from pole to pole, and of the cross-section."""
TAPER = 3
CENTRE = slice(4, 7)
"""Metres, in the world."""
CENTRE_X, CENTRE_Y, CENTRE_Z = 4, 5, 6
LOG_HALF_SIZE = slice(7, 10)
"""Logarithm of metres, along the part's own axes."""
LOG_HALF_X, LOG_HALF_Y, LOG_HALF_Z = 7, 8, 9
ROTATION = slice(10, 16)
"""The first two columns of the rotation from part to world."""
UPRIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
"""The rotation of a part that is not turned."""
AXIS_X, AXIS_Y = slice(10, 13), slice(13, 16)
"""The two columns: the part's x and y axes in the world."""
COLOR = slice(16, 19)
"""sRGB in [0, 1]."""
METALLIC = 19
"""From 0, not metallic, to 1, bare metal (as in glTF 2.0)."""
ROUGHNESS = 20
"""From 0, glossy, to 1, matte (as in glTF 2.0)."""
PATTERN = slice(21, 24)
"""One score for each of ``PATTERNS``. The part has the pattern with the highest score if that score
is above 0, else none."""
PATTERNS = ("stripes", "spots", "checks")
SECOND_COLOR = slice(24, 27)
"""sRGB in [0, 1]: the other colour of the pattern."""

DEFAULT_ROUGHNESS = 0.6
PLAIN = (0.0, DEFAULT_ROUGHNESS, -1.0, -1.0, -1.0, 0.0, 0.0, 0.0)
"""The numbers after the colour of a part of the default material: plastic, without a pattern."""

MAX_PARTS = 48
MIN_EXPONENT, MAX_EXPONENT = 0.1, 1.5
MAX_TAPER = 0.97
"""Below 1, so that no face of a cone's mesh collapses to a line."""
MIN_HALF_SIZE, MAX_HALF_SIZE = 0.004, 1.0
"""Metres."""
