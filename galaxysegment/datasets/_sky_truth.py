"""The truth of `make_sky`: sources against artefacts, and the class of every pixel."""

import numpy as np

from ..structures import ARTEFACT, CIRRUS, DIFFUSE, SKY, TRAIL, VOID, Instances
from ._truth import Visible, owners, visible_part

#: Diffuse light counts from this many times the noise of a pixel: it is smooth, so it shows sooner.
FAINTEST_DIFFUSE = 0.5


def label_sky(stamps, artefacts, rms, band, n_pixels):
    """Label the sources that keep `n_pixels` pixels against brighter sources and artefacts.

    Parameters
    ----------
    stamps : list of Stamp
    artefacts : ndarray of shape (height, width)
        Light of all artefacts in the reference band.
    rms : ndarray of float32, shape (height, width)
        Noise in the reference band, infinite where there are no data.
    band : int
        Index of the reference band.
    n_pixels : int

    Returns
    -------
    labels : ndarray of int32, shape (height, width)
    parts : list of Visible
        Of the labelled sources, in the order of their labels.
    kept : ndarray of int
        Indices of the labelled sources.
    is_artefact : ndarray of bool, shape (height, width)
        Where artefacts are brighter than the noise and than each labelled source.
    """
    light = artefacts.astype(np.float32)
    other = Visible(0, 0, light, light > rms)
    parts = [visible_part(stamp, rms, band) for stamp in stamps]
    n = len(parts)
    sizes = np.bincount(owners([*parts, other], rms.shape).ravel(), minlength=n + 2)[1 : n + 1]
    kept = np.flatnonzero(sizes >= n_pixels)
    parts = [parts[index] for index in kept]
    labels = owners([*parts, other], rms.shape)
    is_artefact = labels == len(parts) + 1
    labels[is_artefact] = 0
    return labels, parts, kept, is_artefact


def classify(labels, classes, is_artefact, trails, artefacts, diffuse, wisps, rms):
    """Return the class of each pixel, int8 (height, width).

    Parameters
    ----------
    labels : ndarray of int32, shape (height, width)
    classes : ndarray of int, shape (n_sources,)
        Galaxy or star, label 1 first.
    is_artefact : ndarray of bool, shape (height, width)
    trails, artefacts, diffuse, wisps : ndarray of shape (height, width)
        Light of satellites, of all artefacts, of halos and clusters, and of cirrus.
    rms : ndarray of shape (height, width)
        Infinite where there are no data.
    """
    named = np.concatenate([[SKY], classes]).astype(np.int8)[labels]
    named[is_artefact] = np.where(2 * trails > artefacts, TRAIL, ARTEFACT)[is_artefact]
    faint = (named == SKY) & (diffuse + wisps > FAINTEST_DIFFUSE * rms)
    named[faint] = np.where(wisps > diffuse, CIRRUS, DIFFUSE)[faint]
    named[np.isinf(rms)] = VOID
    return named


def as_instances(parts, classes, shape):
    """Return the whole masks of the labelled sources, which overlap."""
    return Instances(
        shape, [part.box for part in parts], [part.mask for part in parts], classes=classes
    )
