"""What a U-Net needs to tell several classes of pixels apart: truth, votes, stuff."""

import numpy as np
from scipy import ndimage

from .._utils.validation import check_same_shape
from ..structures import (
    ARTEFACT,
    GALAXY,
    SKY,
    STAR,
    THINGS,
    VOID,
    Instances,
    check_label_map,
    label_components,
    relabel,
)
from ._star_rule import star_evidence, star_logits

__all__ = [
    "ClassTruth",
    "bridge_votes",
    "check_codes",
    "class_truths",
    "classes_of_sums",
    "evidence_of_sums",
    "rescaled",
    "stuff_map",
    "things_of",
    "votes_of",
    "with_class_head",
    "without_rims",
]

# Logit that classes begin with which the net has never seen.
_UNSEEN = -4.0
_FAINTEST_VOTE = 0.01  # in units of the noise
# The rim of an artefact: at most so many pixels, fewer than tiles overlap; most of them as near to
# an artefact as `_RIM` (a square of five pixels); fainter than this signal to noise.
_LARGEST_RIM, _BRIGHTEST_RIM = 64, 10.0
_RIM = np.ones((5, 5), dtype=bool)
_CORE = 7  # pixels; side of the smallest square without data that is the core of a star


class ClassTruth:
    """The class of each pixel, as an index of the net's classes, and the label of its source.

    Parameters
    ----------
    index : ndarray of int8, shape (height, width)
        0 is the sky, −1 does not count.
    sources : ndarray of int32, shape (height, width)
        Label map.
    """

    def __init__(self, index, sources):
        self.index, self.sources, self.shape = index, sources, index.shape

    def any(self):
        """Return whether there is anything but sky."""
        return bool((self.index > 0).any())

    def window(self, rows, columns):
        """Return the class indices of two slices."""
        return self.index[rows, columns]

    def labels(self, rows, columns):
        """Return the label map of a window, numbered from 1."""
        return relabel(self.sources[rows, columns])


def class_codes(classes):
    """Return the parameter `classes` as a tuple of ints, or refuse it."""
    try:
        codes = tuple(int(code) for code in classes)
    except (TypeError, ValueError):  # names, for instance
        codes = ()
    if len(set(codes)) < len(codes) or not codes or min(codes) < 1:
        raise ValueError(
            "classes must be different whole numbers from 1 on, at least one: 1 (galaxy), 2 (star) "
            f"and so on. Got {classes!r} instead."
        )
    return codes


def check_codes(classes):
    """Return `class_codes`, which must hold a class of sources."""
    codes = class_codes(classes)
    if not set(codes) & set(THINGS):
        raise ValueError(
            f"classes must hold 1 (galaxy) or 2 (star), or both. Got {classes!r} instead."
        )
    return codes


def class_truths(y, images, codes):
    """Check the truth of images for a net of several classes; return a list of `ClassTruth`.

    Parameters
    ----------
    y : sequence of panoptic maps (2, height, width) or `Instances` with classes
    images : list of streams of shape (n_bands, height, width)
    codes : tuple of int
        Classes of the net but the sky.
    """
    targets = list(y)
    if len(targets) != len(images):
        raise ValueError(
            f"X holds {len(images)} images, but y holds {len(targets)} targets: give one per image."
        )
    truths = []
    for number, (target, image) in enumerate(zip(targets, images, strict=True)):
        semantic, labels = _take_apart(target, f"y[{number}]")
        check_same_shape(semantic.shape, image.shape[1:], f"y[{number}]", f"X[{number}]")
        truths.append(ClassTruth(_as_index(semantic, codes, f"y[{number}]"), labels))
    return truths


def _take_apart(target, name):
    if isinstance(target, Instances):
        if target.classes is None and len(target):
            raise ValueError(
                f"{name} has no classes, but the net tells classes apart: give its Instances "
                "classes, or pass a panoptic map."
            )
        target = target.to_panoptic()
    target = np.asarray(target)
    if target.ndim != 3 or len(target) != 2 or target.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be a panoptic map of integers, (2, height, width), or Instances with "
            f"classes, because the net tells classes apart. Got shape {target.shape}, dtype "
            f"{target.dtype}, instead."
        )
    is_thing = np.isin(target[0], THINGS)
    return target[0], relabel(check_label_map(np.where(is_thing, target[1], 0), name))


def _as_index(semantic, codes, name):
    known = np.array([VOID, SKY, *codes])
    unknown = np.setdiff1d(semantic, known)
    if unknown.size:
        raise ValueError(
            f"{name} holds the class {unknown[0]}, but classes={codes!r}: name it in classes, or "
            "set its pixels to 0 (sky) or -1 (does not count)."
        )
    order = np.argsort(known)
    places = order[np.searchsorted(known[order], semantic)]
    return (places - 1).astype(np.int8)


def things_of(codes):
    """Whether each class of the net is a thing; the sky comes first."""
    return np.isin([SKY, *codes], THINGS)


def rescaled(classes, things, calibrated):
    """Return class probabilities whose things add up to `calibrated`.

    Parameters
    ----------
    classes : ndarray of shape (n_classes, height, width)
    things : ndarray of bool, shape (n_classes,)
    calibrated : ndarray of shape (height, width)
        Probability to belong to a source.
    """
    least = np.finfo(np.float32).tiny
    scaled = classes.copy()
    for chosen, wanted in ((things, calibrated), (~things, 1 - calibrated)):
        # 1 minus the sum of the other classes would be 0 where these have a probability of 1e-9
        scaled[chosen] *= wanted / np.maximum(classes[chosen].sum(axis=0), least)
    return scaled


def votes_of(scaled_image):
    """Weight of each pixel's vote for the class of its source: its light in units of the noise.

    Parameters
    ----------
    scaled_image : ndarray of float, shape (n_bands, height, width)
        What the net sees: the arcsinh of the light; NaN is "no data".
    """
    light = np.sinh(np.nan_to_num(scaled_image.astype(np.float64))).mean(axis=0)
    return np.maximum(light, _FAINTEST_VOTE)


def bridge_votes(classes, gaps, codes):
    """Return the votes of pixels with those of bridged gaps: "star" in cores, else nothing.

    A detector saturates in stars. If it is masked there, the brightest pixels of a star have no
    vote, and its wings and spikes look like a galaxy's. So what bridges a gap votes for a star, if
    the gap holds a square of 7 pixels. Dead columns, bleed trails and cosmic rays are narrower. A
    galaxy stays one, because its core has a smaller share of the light. The other maps become NaN
    in cores, because the radius of such a source is not known.

    Parameters
    ----------
    classes : ndarray of float, shape (n_maps, height, width)
        Votes for each class, the sky first, and other maps.
    gaps : ndarray of bool, shape (height, width)
        Pixels that were interpolated.
    codes : tuple of int
        Classes of the net but the sky.

    Returns
    -------
    ndarray of float, shape (n_maps, height, width)
    """
    if not gaps.any():
        return classes
    votes = np.where(gaps, 0, classes)
    if STAR in codes:
        inner = ndimage.minimum_filter(gaps.astype(np.uint8), _CORE, mode="constant")
        is_core = ndimage.maximum_filter(inner, _CORE, mode="constant") > 0
        n_classes = 1 + len(codes)
        weights = classes[:n_classes, is_core].sum(axis=0)  # probabilities add up to 1
        votes[1 + codes.index(STAR), is_core] = weights
        votes[n_classes:, is_core] = np.nan
    return votes


def without_rims(maps, scaled_image, codes, threshold):
    """Return the probability of a source without the rims of artefacts: 0 in their pixels.

    Around a cosmic ray or a trail that a net recognizes it may see a faint source. A rim is a
    connected region of at most 64 pixels above `threshold`, more than half of which lie within two
    pixels of those that are most probably an artefact, with a signal to noise under 10.

    Parameters
    ----------
    maps : ScoreMaps
        Probability of a source, and of each class, the sky first.
    scaled_image : ndarray of float, shape (n_bands, height, width)
        What the net sees: the arcsinh of the light in units of the noise; NaN is "no data".
    codes : tuple of int
        Classes of the net but the sky.
    threshold : float

    Returns
    -------
    ndarray of float, shape (height, width)
    """
    if ARTEFACT not in codes:
        return maps.light
    artefact = maps.classes[1 + codes.index(ARTEFACT)]
    is_artefact = (artefact >= maps.classes.max(axis=0)) & (artefact > maps.light)
    if not is_artefact.any():
        return maps.light
    labels = label_components(maps.light > threshold)
    pixels = np.flatnonzero(labels)
    owners = labels.ravel()[pixels]
    is_near = ndimage.binary_dilation(is_artefact, _RIM).ravel()[pixels]
    bands = scaled_image.reshape(len(scaled_image), -1)[:, pixels].astype(np.float64)
    light = np.nan_to_num(np.sinh(bands)).sum(axis=0) / np.sqrt(len(bands))
    areas, near, signal = (
        np.bincount(owners, weights, minlength=1) for weights in (None, is_near, light)
    )
    is_rim = (areas <= _LARGEST_RIM) & (2 * near > areas)
    is_rim &= signal < _BRIGHTEST_RIM * np.sqrt(areas)
    return np.where(is_rim[labels], 0, maps.light)


def classes_of_sums(n_pixels, sums, codes, rule=None):
    """Return the class of each source, given the sums of the votes of its pixels.

    Parameters
    ----------
    n_pixels : ndarray of float, shape (n_sources,)
    sums : ndarray of float, shape (n_classes or n_classes + 2, n_sources)
        Of the probabilities, times the weight of the pixel's vote, the sky first. With `rule`, of
        `light_powers` as well.
    codes : tuple of int
        Classes of the net but the sky.
    rule : StarRule, optional
        Tells stars from galaxies by comparing the sources with each other, too.
    """
    names = np.array([SKY, *codes])
    things = np.flatnonzero(things_of(codes))
    if rule is None or not {GALAXY, STAR} <= set(codes):
        return names[things[sums[things].argmax(axis=0)]]
    logits = star_logits(evidence_of_sums(n_pixels, sums, codes), rule)
    return np.where(logits > 0, STAR, GALAXY)


def evidence_of_sums(n_pixels, sums, codes):
    """Return `star_evidence` of the same sums."""
    names = [SKY, *codes]
    votes = sums[: len(names)]
    star, galaxy = votes[names.index(STAR)], votes[names.index(GALAXY)]
    return star_evidence(star, galaxy, votes.sum(axis=0), sums[len(names) :], n_pixels)


def stuff_map(maps, codes):
    """Return the most probable kind of stuff of each pixel, sky included, as if in no source.

    Parameters
    ----------
    maps : ScoreMaps
        With the probabilities of the classes.
    codes : tuple of int
        Classes of the net but the sky.
    """
    stuff = np.flatnonzero(~things_of(codes))
    return np.array([SKY, *codes])[stuff][maps.classes[stuff].argmax(axis=0)]


def with_class_head(state, codes):
    """Return the state of a net of one class with a head for several, which begins as it was.

    Things share the probability of a source; other classes begin improbable.

    Parameters
    ----------
    state : dict
        What a model file keeps of a net.
    codes : tuple of int
        Classes of the new net but the sky.
    """
    tensors = dict(state["tensors"])
    weight, bias = (tensors[f"head.{name}"].astype(np.float32) for name in ("weight", "bias"))
    things = things_of(codes)
    tensors["head.weight"] = np.where(things[:, None, None, None], weight, np.float32(0))
    known = np.where(
        things, bias - np.log(things.sum()), np.where(np.arange(len(things)), _UNSEEN, 0)
    )
    tensors["head.bias"] = known.astype(np.float32)
    params = {**state["module_params"], "n_outputs": len(things)}
    return {**state, "tensors": tensors, "module_params": params, "classes": list(codes)}
