"""Pictures of an image, its truth and its segmentation, in the style of scikit-learn's displays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._utils.validation import as_float_image, check_same_shape
from .io._inputs import as_field, is_observation
from .structures import Instances, as_label_map, relabel
from .structures._types import Labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["SegmentationDisplay", "contact_sheet"]

# Golden-ratio steps through the hues keep the colours of neighbouring labels far apart.
_HUE_STEP = 0.618033988749895
_N_COLORS = 97


class SegmentationDisplay:
    """Show the sources of one image: the image, the truth if there is one, and the prediction.

    Use `from_estimator` or `from_predictions` to make one; the parameters below are kept as
    attributes.

    Parameters
    ----------
    y_pred : ndarray of int32, shape (height, width), or Instances
        The predicted sources. Where `y_true` is a label map too, each is drawn in the colour of the
        true source that it covers most.
    y_true : ndarray of int32, shape (height, width), or Instances, optional
        The true sources.
    image : ndarray of shape (height, width) or (n_bands, height, width), optional
        What the sources were found in. Three bands are shown in colour, first band red; of any
        other number the first is shown.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure, after `plot`.
    axes_ : ndarray of matplotlib Axes
        One per panel, after `plot`.
    """

    def __init__(
        self,
        y_pred: Labels | Instances,
        *,
        y_true: Labels | Instances | None = None,
        image: NDArray[Any] | None = None,
    ) -> None:
        self.y_pred = y_pred
        self.y_true = y_true
        self.image = image

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        index: int = 0,
        output: str = "labels",
        axes: Sequence[Axes] | NDArray[Any] | None = None,
        stretch: str = "asinh",
        alpha: float = 0.45,
    ) -> Self:
        """Predict with a fitted segmenter, or a pipeline ending in one, and show one image.

        Parameters
        ----------
        estimator : segmenter or Pipeline
            Fitted.
        X : array or list
            Images, as the estimator takes them.
        y : array or list, optional
            Truth, as the estimator takes it.
        index : int, default=0
            Which image of `X` to predict and show.
        output : {"labels", "instances"}, default="labels"
            Whether to show a label map or instances with their overlaps.
        axes, stretch, alpha
            See `plot`.

        Returns
        -------
        SegmentationDisplay
        """
        X = [X] if is_observation(X) else X
        shown = X[index : index + 1] if index != -1 else X[-1:]
        prediction = estimator.predict(shown, output=output)[0]
        truth = None if y is None else y[index]
        return cls.from_predictions(
            truth, prediction, image=shown[0], axes=axes, stretch=stretch, alpha=alpha
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike | Instances | None,
        y_pred: ArrayLike | Instances,
        *,
        image: ArrayLike | None = None,
        axes: Sequence[Axes] | NDArray[Any] | None = None,
        stretch: str = "asinh",
        alpha: float = 0.45,
    ) -> Self:
        """Show predicted sources beside the true ones.

        Parameters
        ----------
        y_true : label map, binary mask or Instances, or None
            The truth of one image; ``None`` leaves its panel out.
        y_pred : label map, binary mask or Instances
            The prediction for that image.
        image : array of shape (height, width) or (n_bands, height, width), optional
            The image itself.
        axes, stretch, alpha
            See `plot`.

        Returns
        -------
        SegmentationDisplay

        Examples
        --------
        >>> import matplotlib
        >>> matplotlib.use("agg")
        >>> import numpy as np
        >>> from galaxysegment.display import SegmentationDisplay
        >>> labels = np.eye(8, dtype=int)
        >>> SegmentationDisplay.from_predictions(labels, labels, image=labels).axes_.shape
        (3,)
        """
        predicted: Any = _check_sources(y_pred, "y_pred")
        truth: Any = None if y_true is None else _check_sources(y_true, "y_true")
        if truth is not None:
            check_same_shape(truth.shape, predicted.shape, "y_true", "y_pred")
        pixels: Any = as_field(image).image if is_observation(image) else image
        if pixels is not None:
            pixels = as_float_image(pixels, "image")
            if pixels.ndim not in (2, 3):
                raise ValueError(
                    "image must have shape (height, width) or (n_bands, height, width). "
                    f"Got {pixels.shape} instead: show one image at a time."
                )
            check_same_shape(pixels.shape[-2:], predicted.shape, "image", "y_pred")
        display = cls(predicted, y_true=truth, image=pixels)
        return display.plot(axes=axes, stretch=stretch, alpha=alpha)

    def plot(
        self,
        *,
        axes: Sequence[Axes] | NDArray[Any] | None = None,
        stretch: str = "asinh",
        alpha: float = 0.45,
    ) -> Self:
        """Draw the panels.

        Parameters
        ----------
        axes : sequence of matplotlib Axes, optional
            One per panel (image, truth, prediction, as far as they are given); a new figure by
            default.
        stretch : str, default="asinh"
            A stretch of `galaxysegment.preprocessing.ImageNormalizer`'s names: "asinh", "linear",
            "log", "sqrt".
        alpha : float, default=0.45
            Opacity of the coloured sources over the image.

        Returns
        -------
        SegmentationDisplay
            Itself, with `figure_` and `axes_`.
        """
        panels: list[tuple[str, Any]] = [("image", None)] if self.image is not None else []
        panels += [("truth", self.y_true)] if self.y_true is not None else []
        panels += [("prediction", self.y_pred)]
        axes = _make_axes(axes, len(panels), self.y_pred.shape)
        shown = None if self.image is None else stretch_for_display(self.image, stretch)
        hues = _hues_of_truth(self.y_true, self.y_pred)
        for axis, (title, sources) in zip(axes, panels, strict=True):
            _draw_panel(axis, title, sources, shown, alpha, hues if title == "prediction" else None)
        self.axes_, self.figure_ = axes, axes[0].figure
        return self


def stretch_for_display(image, stretch="asinh"):
    """Scale an image to [0, 1] so that faint sources show without burning out bright ones.

    Parameters
    ----------
    image : ndarray of shape (height, width) or (n_bands, height, width)
    stretch : {"asinh", "linear", "log", "sqrt"}, default="asinh"

    Returns
    -------
    ndarray of float, shape (height, width) or (height, width, 3)
        Black is one standard deviation of the noise below the sky, white the 99.7th percentile of
        the pixels above it. Three bands share one white in units of their noise, so that a source
        that is bright in one band only has the colour of that band. No data is black.
    """
    bands = image[None] if image.ndim == 2 else image if image.shape[0] == 3 else image[:1]
    return apply_levels(bands, [measure_levels(band) for band in bands], stretch)


def apply_levels(bands, levels, stretch="asinh"):
    """Scale bands to [0, 1] between given levels, as `stretch_for_display` does.

    Parameters
    ----------
    bands : ndarray of shape (1, height, width) or (3, height, width)
    levels : list of tuple
        `measure_levels` of each band, perhaps of a larger image.
    stretch : {"asinh", "linear", "log", "sqrt"}, default="asinh"

    Returns
    -------
    ndarray of float, shape (height, width) or (height, width, 3)
    """
    from astropy.visualization import AsinhStretch, LinearStretch, LogStretch, SqrtStretch

    stretches = {
        "asinh": AsinhStretch(0.03),
        "linear": LinearStretch(),
        "log": LogStretch(100),
        "sqrt": SqrtStretch(),
    }
    if stretch not in stretches:
        raise ValueError(f"stretch must be one of {sorted(stretches)}. Got {stretch!r} instead.")
    span = max((white - black) / noise for black, noise, white in levels) or 1.0
    scaled = [
        stretches[stretch](np.clip((np.nan_to_num(band, nan=black) - black) / (span * noise), 0, 1))
        for band, (black, noise, _) in zip(bands, levels, strict=True)
    ]
    return scaled[0] if len(scaled) == 1 else np.stack(scaled, axis=-1)


def measure_levels(band):
    """Return black level, standard deviation of the noise and white level of a band."""
    finite = band[np.isfinite(band)]
    if not finite.size:
        return 0.0, 1.0, 1.0
    sky = np.median(finite)
    noise = 1.4826 * np.median(np.abs(finite - sky))
    above = finite[finite > sky + noise]
    white = np.percentile(above, 99.7) if above.size else finite.max()
    # if most pixels are equal, the sky is black and the scatter of all pixels is the unit
    return sky - noise, noise or finite.std() or 1.0, white


def _check_sources(sources, name):
    return sources if isinstance(sources, Instances) else as_label_map(sources, name)


def _make_axes(axes, n_panels, shape):
    if axes is None:
        import matplotlib.pyplot as plt

        height = 4.2 * shape[0] / shape[1]
        _, axes = plt.subplots(
            1, n_panels, figsize=(4.2 * n_panels, height + 0.4), squeeze=False, layout="constrained"
        )
    axes = np.ravel(axes)
    if len(axes) != n_panels:
        raise ValueError(
            f"axes holds {len(axes)} axes, but there are {n_panels} panels to draw: give one per "
            "panel."
        )
    return axes


def _hues_of_truth(y_true, y_pred):
    """Number predicted sources as the true sources that they cover most, for equal colours."""
    if not isinstance(y_true, np.ndarray) or not isinstance(y_pred, np.ndarray):
        return None
    y_true, y_pred = relabel(y_true), relabel(y_pred)
    # A source that covers no true source keeps a colour of its own.
    hues = np.arange(int(y_pred.max(initial=0)) + 1) + int(y_true.max(initial=0))
    shared = (y_true > 0) & (y_pred > 0)
    pairs, counts = np.unique(
        np.stack([y_pred[shared], y_true[shared]]), axis=1, return_counts=True
    )
    for label, truth in pairs[:, np.argsort(counts, kind="stable")].T:
        hues[label] = truth
    hues[0] = 0
    return hues[y_pred]


def _draw_panel(axis, title, sources, shown, alpha, hues=None):
    if shown is not None:
        axis.imshow(shown, origin="lower", cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    if isinstance(sources, Instances):
        _draw_instances(axis, sources)
    elif sources is not None:
        # numbered anew: `hues` are numbers of the true sources of this image
        hues = relabel(sources) if hues is None else hues
        colored = color_labels(hues, 1.0 if shown is None else alpha)
        axis.imshow(colored, origin="lower", interpolation="nearest")
    if sources is not None:
        n_sources = (
            len(sources) if isinstance(sources, Instances) else np.unique(sources[sources > 0]).size
        )
        title = f"{title}: {n_sources} source{'' if n_sources == 1 else 's'}"
    axis.set(title=title, xticks=[], yticks=[])


def color_labels(labels, alpha=1.0):
    """RGBA picture of a label map: one hue a source, background transparent.

    Parameters
    ----------
    labels : ndarray of int, shape (height, width)
    alpha : float, default=1.0
        Opacity of the sources.

    Returns
    -------
    ndarray of float32, shape (height, width, 4)
    """
    from matplotlib.colors import hsv_to_rgb

    hues = np.arange(1, _N_COLORS + 1) * _HUE_STEP % 1
    table = np.zeros((_N_COLORS + 1, 4), dtype=np.float32)
    table[1:, :3] = hsv_to_rgb(
        np.stack([hues, np.full(_N_COLORS, 0.75), np.ones(_N_COLORS)], axis=1)
    )
    table[1:, 3] = alpha
    return table[np.where(labels > 0, (labels - 1) % _N_COLORS + 1, 0)]


def _draw_instances(axis, instances):
    """Outline every mask, so that overlaps stay visible."""
    colors = color_labels(np.arange(1, len(instances) + 1)[None])[0] if len(instances) else []
    for (y0, x0, _, _), crop, color in zip(
        instances.boxes.tolist(), instances.crops, colors, strict=True
    ):
        padded = np.pad(crop, 1).astype(float)
        rows, columns = np.arange(padded.shape[0]) + y0 - 1, np.arange(padded.shape[1]) + x0 - 1
        axis.contour(columns, rows, padded, levels=[0.5], colors=[color[:3]], linewidths=1.2)
    height, width = instances.shape
    axis.set(xlim=(-0.5, width - 0.5), ylim=(-0.5, height - 0.5), aspect="equal")


def contact_sheet(stamps: Sequence[Any], *, n_columns: int = 8, most: int = 64) -> Any:
    """Draw cutouts side by side, each with the outline of its source.

    Parameters
    ----------
    stamps : sequence of `galaxysegment.catalog.Cutout`
        The cutouts, for example ``cutouts(field, labels, size=48)``.
    n_columns : int, default=8
        Cutouts in a row.
    most : int, default=64
        The first so many cutouts are drawn.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        If there are no cutouts, or a number is not positive.
    """
    import matplotlib.pyplot as plt

    if not len(stamps) or n_columns < 1 or most < 1:
        raise ValueError(
            f"contact_sheet needs cutouts, n_columns >= 1 and most >= 1. Got {len(stamps)} "
            f"cutouts, n_columns={n_columns} and most={most}."
        )
    shown = stamps[:most]
    n_rows = -(-len(shown) // n_columns)
    figure, axes = plt.subplots(
        n_rows, n_columns, figsize=(n_columns, n_rows), squeeze=False, layout="constrained"
    )
    for ax in axes.ravel():
        ax.set_axis_off()
    for ax, stamp in zip(axes.ravel(), shown, strict=False):
        ax.imshow(stretch_for_display(stamp.image), origin="lower", cmap="gray")
        can_outline = stamp.mask is not None and min(stamp.mask.shape) > 1
        if can_outline and stamp.mask.any() and not stamp.mask.all():
            ax.contour(stamp.mask, [0.5], colors="tab:orange", linewidths=0.8)
        ax.set_title(stamp.label, fontsize=6, pad=1)
    return figure
