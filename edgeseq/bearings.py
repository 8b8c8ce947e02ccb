"""At which frequencies a rolling bearing's faults strike."""

from __future__ import annotations

import math

from edgeseq import tables
from edgeseq.errors import ConfigError

FAULTS = ("bpfo", "bpfi", "bsf", "ftf")
_KEYS = ("balls", "ball_diameter", "pitch_diameter", "contact_angle")


def per_turn(bearing: dict[str, float]) -> tuple[float, float, float, float]:
    """Return the FAULTS' frequencies at one turn of the shaft a second: outer race, inner race, ball, cage.

    bearing: balls, ball_diameter and pitch_diameter in the same unit, contact_angle in degrees (default 0). The outer
    ring stands still. Raises ConfigError for what is no bearing.
    Source: Randall and Antoni, "Rolling element bearing diagnostics: a tutorial", MSSP 25, 2011, equations 1 to 4.
    """
    for key in bearing:
        if key not in _KEYS:
            raise ConfigError(f"bearing has no '{key}'. {tables.suggest(key, _KEYS)}")
    missing = [key for key in _KEYS[:3] if key not in bearing]
    if missing:
        raise ConfigError(f"bearing lacks {' and '.join(missing)}.")
    balls, ball, pitch = (bearing[key] for key in _KEYS[:3])
    angle = bearing.get("contact_angle", 0.0)
    if not (balls >= 1 and 0 < ball < pitch < math.inf and 0 <= angle < 90):  # noqa: PLR2004 - degrees
        raise ConfigError(
            "bearing: balls must be 1 or more, ball_diameter above 0 and below pitch_diameter, contact_angle 0 to "
            "below 90 degrees."
        )
    ratio = ball / pitch * math.cos(math.radians(angle))
    cage = (1 - ratio) / 2
    return balls * cage, balls * (1 + ratio) / 2, pitch / ball * (1 - ratio**2) / 2, cage
