"""Cut a field into patches of one size, ready for an estimator."""

import numpy as np

from .._utils.rms import append_rms
from ..structures import relabel


def cut_patches(field, size, step, rms, min_sources):
    """Do the work of `Field.patches`."""
    step = size if step is None else step
    _check_grid(field, size, step, rms, min_sources)
    height, width = field.shape
    images, maps, fullest = [], [], 0
    for y in range(0, height - size + 1, step):
        # One strip of rows at a time: overlapping patches read no pixel twice, and memory stays
        # small.
        rows = slice(y, y + size)
        strip, truth = _read_strip(field, rows, rms)
        for x in range(0, width - size + 1, step):
            columns = slice(x, x + size)
            labels = None if truth is None else relabel(truth[:, columns])
            n_sources = 0 if labels is None else int(labels.max())
            fullest = max(fullest, n_sources)
            if n_sources >= min_sources:
                images.append(strip[:, :, columns].copy())
                maps.append(labels)
    if not images:
        raise ValueError(
            f"min_sources={min_sources} leaves no patch: the fullest has {fullest}. Lower it or "
            "take larger patches."
        )
    X = np.stack(images)
    return X if X.shape[1] > 1 else X[:, 0], None if maps[0] is None else np.stack(maps)


def _read_strip(field, rows, rms):
    section = (rows, slice(0, field.shape[1]))
    strip = field._read("image", section)
    if rms:
        strip = append_rms(strip, field._read("rms", section))
    return strip, field._read("labels", section) if field.has_labels else None


def _check_grid(field, size, step, rms, min_sources):
    for name, value, lowest in (
        ("size", size, 1),
        ("step", step, 1),
        ("min_sources", min_sources, 0),
    ):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < lowest:
            raise ValueError(
                f"{name} must be a whole number, at least {lowest}. Got {value!r} instead."
            )
    if size > min(field.shape):
        raise ValueError(
            f"size={size} is larger than the field, of shape {field.shape}: use size <= "
            f"{min(field.shape)}."
        )
    if rms and not field.has_rms:
        raise ValueError(
            "rms=True needs an RMS map, but the field has none: pass rms= when you make the field."
        )
    if min_sources > 0 and not field.has_labels:
        raise ValueError(
            f"min_sources={min_sources} needs the truth, but the field has none: pass labels= when "
            "you make the "
            "field, or leave min_sources=0."
        )
