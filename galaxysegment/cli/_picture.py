"""Draw an image and its sources, in colour if there are several bands."""

import sys
from pathlib import Path

import numpy as np


def check_rgb(rgb, n_bands):
    """Return the indices of the bands for red, green and blue, from numbers that count from 1."""
    if any(not 1 <= number <= n_bands for number in rgb):
        raise ValueError(
            f"--rgb takes three numbers of bands, 1 to {n_bands}, counted in the order of the "
            "images. Got "
            f"{' '.join(map(str, rgb))} instead."
        )
    return [number - 1 for number in rgb]


def colour_order(wavelengths):
    """Choose the bands for red (longest wavelength), green (middle) and blue (shortest).

    Parameters
    ----------
    wavelengths : list of float

    Returns
    -------
    list of 3 int
        Indices of the bands.

    Examples
    --------
    >>> colour_order([475, 622, 763])  # g, r, i
    [2, 1, 0]
    """
    order = np.argsort(wavelengths)[::-1].tolist()
    return [order[0], order[len(order) // 2], order[-1]]


def bands_to_draw(bands, rgb=None):
    """Choose the bands of a colour picture.

    Parameters
    ----------
    bands : Bands
        The bands in use.
    rgb : list of 3 int, optional
        Numbers of the bands that become red, green and blue, counted from 1.

    Returns
    -------
    list of int
        One index for a grey picture, or three.
    """
    n_bands = len(bands.indices)
    if rgb is not None:
        return check_rgb(rgb, n_bands)
    if n_bands == 1:
        return [0]
    wavelengths = bands.wavelengths()
    if wavelengths is not None:
        return colour_order(wavelengths)
    print(
        "galaxysegment: neither headers nor file names tell the wavelengths of the bands: the "
        "picture shows "
        f"{'band 1 in red and band 3 in blue' if n_bands == 3 else 'band 1 only'}. Pass "
        "--rgb with the numbers "
        "of the bands to show in red, green and blue.",
        file=sys.stderr,
    )
    return [0, 1, 2] if n_bands == 3 else [0]


def draw(field, labels, picture, bands):
    """Write a picture of the image beside its sources.

    Parameters
    ----------
    field : Field
    labels : ndarray of int, shape (height, width), or path of a label map
    picture : path
    bands : list of int
        Bands that become red, green and blue, or one band.
    """
    import matplotlib

    matplotlib.use("agg")
    from ..display import SegmentationDisplay
    from ..io import read_label_map

    if isinstance(labels, Path):
        labels = read_label_map(labels)
    shown = SegmentationDisplay.from_predictions(None, labels, image=field.image[bands])
    shown.figure_.savefig(picture, dpi=130)
