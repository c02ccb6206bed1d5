"""The stretches of astropy.visualization by name, on values between 0 and 1."""

import numpy as np

__all__ = ["STRETCHES", "make_stretch", "scale_band"]

STRETCHES = ("asinh", "linear", "log", "power", "powerdist", "sinh", "sqrt", "squared")


def make_stretch(name, a=None):
    """Return the astropy stretch `name`; `a` is its parameter, astropy's default where None."""
    # Imported here: astropy.visualization loads matplotlib.
    from astropy import visualization

    fixed = {
        "linear": visualization.LinearStretch,
        "sqrt": visualization.SqrtStretch,
        "squared": visualization.SquaredStretch,
    }
    if name in fixed:
        return fixed[name]()
    if name == "power":  # astropy has no default for its exponent
        return visualization.PowerStretch(2.0 if a is None else a)
    tunable = {
        "asinh": visualization.AsinhStretch,
        "log": visualization.LogStretch,
        "powerdist": visualization.PowerDistStretch,
        "sinh": visualization.SinhStretch,
    }
    return tunable[name]() if a is None else tunable[name](a)


def scale_band(band, low, high, stretch):
    """Scale `band` so that `low` becomes 0 and `high` 1, clip, stretch; zeros if `high` <= `low`.

    The result is float64 whatever comes in, NaN where `band` is NaN.
    """
    if not high > low:
        return np.where(np.isnan(band), np.nan, 0.0)
    scaled = np.subtract(band, low, dtype=np.float64)
    scaled /= high - low
    scaled = stretch(scaled, clip=True, out=scaled)
    return np.clip(scaled, 0.0, 1.0, out=scaled)
