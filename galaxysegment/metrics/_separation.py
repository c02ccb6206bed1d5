"""How well the light of overlapping sources was divided, against the true light of each source."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from ..structures import Separated

_LEAST_MATCH = 0.3  # normalized product of two lights that may be the same source
_HALF = 15  # pixels from the peak to the edge of the window of residual and shape


def separation_scores(y_true: Sequence[ArrayLike], y_pred: Sequence[Separated]) -> dict[str, float]:
    """Compare separated sources with their true light, as BlendingToolKit does.

    Sources are matched one to one where their lights agree best: the normalized product of the two
    images is at least 0.3.

    Parameters
    ----------
    y_true : sequence of arrays of shape (n_sources, height, width)
        Noise-free light of each true source, one array an image, as
        ``make_blends(…, return_isolated=True)`` returns it.
    y_pred : sequence of Separated
        What a separator made of the images, one band.

    Returns
    -------
    dict of str to float
        - ``flux_error``: mean of ``|flux / true flux - 1|`` over all true sources; a missed source
          counts 1;
        - ``median_flux_error``: their median;
        - ``flux_bias``: mean of ``flux / true flux - 1`` over matched sources;
        - ``ssim``: mean structural similarity [1]_ of matched sources, over the whole image as
          BlendingToolKit has it [2]_;
        - ``residual``: mean over matched sources of ``sum |part - true light| / sum true light``,
          in 31 × 31 pixels around the true peak;
        - ``ellipticity_error``: median ``|e - e_true|`` of matched sources, from weighted second
          moments;
        - ``missed``: fraction of true sources without a match; ``spurious``: unmatched sources an
          image.

        NaN where no source was matched.

    Raises
    ------
    ValueError
        If the numbers of images or the shapes differ, or a part has several bands.

    References
    ----------
    .. [1] Wang et al. 2004, IEEE Transactions on Image Processing, 13, 600.
       :doi:`10.1109/TIP.2003.819861`
    .. [2] The Blending ToolKit, https://github.com/LSSTDESC/BlendingToolKit

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment.metrics import separation_scores
    >>> from galaxysegment.separation import TemplateSeparator
    >>> y, x = np.indices((60, 60))
    >>> light = np.stack([np.exp(-((y - 30) ** 2 + (x - centre) ** 2) / 18) for centre in (25, 36)])
    >>> labels = np.where(light.sum(axis=0) > 0.05, np.where(x < 31, 1, 2), 0)
    >>> image = 100 * light.sum(axis=0)
    >>> rms = np.ones((1, 60, 60))
    >>> separated = TemplateSeparator().separate(image[None], labels[None], rms=rms)
    >>> scores = separation_scores([100 * light], separated)
    >>> bool(scores["flux_error"] < 0.05), scores["missed"], scores["spurious"]
    (True, 0.0, 0.0)
    """
    if len(y_true) != len(y_pred):
        raise ValueError(
            f"y_true holds {len(y_true)} images, but y_pred holds {len(y_pred)}: give one each."
        )
    rows, spurious = [], 0
    for index, (lights, separated) in enumerate(zip(y_true, y_pred, strict=True)):
        truth = np.asarray(lights, dtype=np.float64)
        _check_shapes(truth, separated, index)
        pairs = _match(truth, separated)
        spurious += len(separated) - len(pairs)
        rows += [
            _compare(truth[source], separated, pairs[source]) if source in pairs else None
            for source in range(len(truth))
        ]
    return _summary(rows, spurious / max(len(y_true), 1))


def _check_shapes(truth, separated, index):
    if truth.ndim != 3 or truth.shape[1:] != separated.residual.shape:
        raise ValueError(
            f"y_true[{index}] has shape {truth.shape}, but y_pred[{index}] separates an image of "
            "shape "
            f"{separated.residual.shape}: pass (n_sources, height, width) for an image of one band."
        )


def _match(truth, separated):
    """Index of the separated source of each true source that has one."""
    if not len(truth) or not len(separated):
        return {}
    products = np.zeros((len(truth), len(separated)))
    norms = np.sqrt((truth**2).sum(axis=(1, 2)))
    for column, ((y0, x0, y1, x1), part) in enumerate(
        zip(separated.boxes.tolist(), separated.parts, strict=True)
    ):
        norm = np.sqrt((part.astype(np.float64) ** 2).sum())
        if norm > 0:
            cut = truth[:, y0:y1, x0:x1]
            products[:, column] = (cut * part).sum(axis=(1, 2)) / np.maximum(norms * norm, 1e-300)
    sources, columns = linear_sum_assignment(-products)
    good = products[sources, columns] >= _LEAST_MATCH
    return dict(zip(sources[good].tolist(), columns[good].tolist(), strict=True))


def _compare(light, separated, index):
    """Flux ratio, SSIM, residual and difference of ellipticity of one matched source."""
    from skimage.metrics import structural_similarity

    part = separated.isolated(index).astype(np.float64)
    y, x = np.unravel_index(np.argmax(light), light.shape)
    window = (
        slice(max(y - _HALF, 0), y + _HALF + 1),
        slice(max(x - _HALF, 0), x + _HALF + 1),
    )
    true_cut, cut = light[window], part[window]
    side = min(7, *(size - 1 + size % 2 for size in light.shape))
    span = float(light.max() - light.min())
    similarity = structural_similarity(light, part, data_range=span, win_size=side)
    return (
        float(separated.fluxes[index]) / light.sum(),
        similarity,
        np.abs(cut - true_cut).sum() / true_cut.sum(),
        abs(_ellipticity(cut) - _ellipticity(true_cut)),
    )


def _ellipticity(image: NDArray[np.float64]) -> complex:
    """Complex ellipticity of the light, weighted by a Gaussian of 3 pixels about its middle."""
    rows, columns = np.indices(image.shape)
    y, x = (image.shape[0] - 1) / 2, (image.shape[1] - 1) / 2
    for _ in range(4):
        weight = np.maximum(image, 0) * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 18)
        total = weight.sum()
        if total <= 0:
            return complex(0)
        y, x = (weight * rows).sum() / total, (weight * columns).sum() / total
    yy = (weight * (rows - y) ** 2).sum() / total
    xx = (weight * (columns - x) ** 2).sum() / total
    xy = (weight * (rows - y) * (columns - x)).sum() / total
    return complex(xx - yy, 2 * xy) / (xx + yy) if xx + yy > 0 else complex(0)


def _summary(rows, spurious):
    matched = np.array([row for row in rows if row is not None]).reshape(-1, 4)
    ratios, similarity, residual, shape = matched.T
    missed = len(rows) - len(matched)
    errors = np.concatenate([np.abs(ratios - 1), np.ones(missed)])

    def mean(values):
        return float(np.mean(values)) if len(values) else float("nan")

    return {
        "flux_error": mean(errors),
        "median_flux_error": float(np.median(errors)) if len(errors) else float("nan"),
        "flux_bias": mean(ratios - 1),
        "ssim": mean(similarity),
        "residual": mean(residual),
        "ellipticity_error": float(np.median(shape)) if len(shape) else float("nan"),
        "missed": missed / len(rows) if rows else float("nan"),
        "spurious": spurious,
    }
