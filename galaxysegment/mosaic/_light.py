"""`separate_mosaic`: the light of every source of a mosaic, tile by tile."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from .._utils.paths import check_paths
from .._utils.validation import is_path
from ..base._pipelines import takes_rms
from ..io import Field
from ..io._hdus import find_labels, scan
from ..io._windows import open_pixels
from ..io._write import check_target
from ..separation import BaseSeparator, SegmentThenSeparate
from ..separation._positions import check_positions
from ..structures import Instances, Separated, as_label_map
from ..structures._types import Hdu
from ._light_find import FindingRun
from ._light_run import LightRun
from ._light_sources import InstanceSources, LabelSources, PlaceSources
from ._run import check_counts, check_segmenter

if TYPE_CHECKING:
    from astropy.table import Table


def separate_mosaic(
    separator: Any,
    image: ArrayLike | str | Path | Sequence[str | Path] | Field,
    sources: ArrayLike | str | Path | Instances | Table | None = None,
    *,
    rms: ArrayLike | str | Path | bool | None = None,
    mask: ArrayLike | str | Path | None = None,
    output: str | Path | None = None,
    kind: str | None = None,
    background: str | None = None,
    tile_size: int = 2048,
    n_jobs: int = 1,
    progress: bool = True,
    resume: bool = False,
    overwrite: bool = False,
    hdu: Hdu = None,
    labels_hdu: Hdu = None,
    rms_hdu: Hdu = None,
    mask_hdu: Hdu = None,
    rms_kind: str = "rms",
    mask_bits: int | Sequence[int] | None = None,
) -> Separated | Path:
    """Divide the light of an image of any size among its sources, tile by tile.

    Sources whose masks touch are divided together, wherever tiles meet, with all the pixels that
    decide about them: the result equals that of ``separator.separate`` on the whole image, to the
    bit, and does not depend on tiles or workers. The only exception are groups of touching sources
    that are larger than about four tiles.

    Parameters
    ----------
    separator : separator or SegmentThenSeparate
        Such as `TemplateSeparator`. A fitted `SegmentThenSeparate` finds the sources itself, as
        `segment_mosaic` does: leave `sources` out. Its segmenter gets the RMS map as the last band
        if it takes one.
    image : path, list of paths, `galaxysegment.io.Field`, `NDData`, or array
        As for `segment_mosaic`; linear in flux.
    sources : path, array, `Instances` or `~astropy.table.Table`, optional
        The sources: a label map of the image's shape, in a FITS file or in memory, sources that may
        overlap, or positions in columns ``x`` and ``y``, in 0-based pixels.
    rms : path, array or bool, optional
        RMS map. If left out, the map that comes with the file, field or `NDData` is taken; if there
        is none, one number a band is estimated from the pixels outside all sources. True insists
        on such a map, False ignores it.
    mask : path or array, optional
        Mask or data quality map; pixels that are not 0 have no data.
    output : path, optional
        FITS file (``.fits``) to write. It appears when it is finished. Without it, a `Separated` is
        returned.
    kind : {"fluxes", "parts"}, optional
        What the file holds: a table of positions, fluxes, their errors and blendedness (the
        default), or also every source's part, its mask, and the residual, which
        `galaxysegment.io.read_separated` reads. A part takes 4 bytes a pixel of its box and band.
    background : {"mesh", None}, default=None
        What to subtract before: the sky between the sources on a mesh of 50 × 50 pixels, as
        `source_catalog` measures it, or nothing. Positions have no masks, so a galaxy that fills
        several boxes may lose light.
    tile_size : int, default=2048
        Largest side of a tile in pixels. A worker holds a window that is up to half as wide again,
        about 0.1 GB for each million pixels and band.
    n_jobs : int, default=1
        Number of processes, as for `segment_mosaic`.
    progress : bool, default=True
        Show a bar with an estimate of the time left on the standard error stream.
    resume : bool, default=False
        Go on with an unfinished run of the same arguments, if there is one. Sources that were found
        are kept beside `output` until it is finished.
    overwrite : bool, default=False
        Replace `output` if it exists. An input is never replaced.
    hdu, labels_hdu, rms_hdu, mask_hdu, rms_kind, mask_bits
        Where image, label map, RMS map and mask are in their files and what they hold, as for
        `galaxysegment.io.read_field`.

    Returns
    -------
    Separated or `pathlib.Path`
        Sources in the order given (label maps: in increasing order of label), those that the
        separator added after them. An image of one band gives parts of shape (height, width). The
        file has an extension SEPARATED, a table with the columns LABEL, BLEND (sources that
        touch have the same number), Y and X (the centre), Y0, X0, Y1, X1 (the box of the part),
        FLUX, FLUX_ERROR and BLENDEDNESS; with parts, also SCORE, CLASS (-1: none), MASK and PART,
        and an extension RESIDUAL.

    Raises
    ------
    TypeError
        If `separator` or `sources` is something else, or `sources` is missing.
    ValueError
        If there are sources and `separator` finds its own, the sources are of an image of another
        shape, positions are outside it, not finite or
        within half a pixel of each other, the RMS map has no positive value, or `resume` finds a
        run with other arguments.
    FileExistsError
        If `output` exists and `overwrite` is False.
    RuntimeError
        If another process is writing the same output.
    TileError
        If a tile cannot be read or separated, a worker dies, the disk is full, or an input changes
        during the run. The message says what is kept.

    Warns
    -----
    UnsubtractedSkyWarning
        If the sky outside the sources is more than 1 RMS from zero, without ``background="mesh"``.
    LargeBlendWarning
        If a group of touching sources is larger than about four tiles: its light is then divided
        tile by tile, and parts differ from those of the whole image.

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment.mosaic import separate_mosaic
    >>> from galaxysegment.separation import TemplateSeparator
    >>> y, x = np.indices((40, 48))
    >>> galaxies = [np.exp(-((y - 20) ** 2 + (x - centre) ** 2) / 18) for centre in (18, 29)]
    >>> image = 300 * galaxies[0] + 100 * galaxies[1]
    >>> labels = np.where(image > 3, np.where(x < 24, 1, 2), 0)
    >>> separated = separate_mosaic(TemplateSeparator(), image, labels, rms=np.ones((40, 48)),
    ...                             progress=False)
    >>> [round(float(flux) / galaxy.sum()) for flux, galaxy in zip(separated.fluxes, galaxies)]
    [300, 100]
    """
    check_counts(tile_size, n_jobs)
    finder = _check_separator(separator, sources)
    separator = separator if finder is None else finder._separator()
    kind = _check_choices(kind, output, background)
    output = _check_output(image, sources, rms, mask, output, resume=resume, overwrite=overwrite)
    hdus = {"hdu": hdu, "rms_hdu": rms_hdu, "mask_hdu": mask_hdu}
    kinds = {"mask": mask, "rms_kind": rms_kind, "mask_bits": mask_bits, **hdus}
    pixels = open_pixels(image, rms, **kinds)
    check_paths(pixels.paths(), {"output": output})
    settings = {
        "kind": kind,
        "background": background,
        "tile_size": tile_size,
        "n_jobs": n_jobs,
        "progress": progress,
        "resume": resume,
        "overwrite": overwrite,
    }
    if finder is None:
        known = _open_sources(sources, pixels.shape, labels_hdu)
        return LightRun(separator, pixels, known, output, **settings).execute()
    segmenter = finder.segmenter_
    takes = partial(takes_rms, segmenter)
    if rms is not None and not takes(pixels.n_bands - pixels.with_rms):
        rms = False
    seen = open_pixels(image, rms, takes_rms=takes, **kinds)
    check_segmenter(segmenter, seen, with_rms=rms is not None and rms is not False)
    return FindingRun(segmenter, seen, separator, pixels, output, **settings).execute()


def _check_separator(separator, sources):
    """Return the separator if it finds the sources itself, else None."""
    if isinstance(separator, SegmentThenSeparate):
        check_is_fitted(separator)
        if sources is not None:
            raise ValueError(
                "sources are given, but SegmentThenSeparate finds its own: leave sources out, or "
                "pass its separator alone."
            )
        separator._separator()._validate_params()
        return separator
    if not isinstance(separator, BaseSeparator):
        raise TypeError(
            "separator must be a separator, such as TemplateSeparator(), or a fitted "
            f"SegmentThenSeparate. Got {type(separator).__name__} instead."
        )
    if sources is None:
        raise TypeError(
            "sources is missing: pass a label map, Instances or a table of positions, or a fitted "
            "SegmentThenSeparate as the separator, which finds them."
        )
    separator._validate_params()
    return None


def _check_choices(kind, output, background):
    if kind not in {None, "fluxes", "parts"}:
        raise ValueError(f"kind must be 'fluxes' or 'parts'. Got {kind!r} instead.")
    if background not in {None, "mesh"}:
        raise ValueError(f"background must be 'mesh' or None. Got {background!r} instead.")
    if output is None and kind == "fluxes":
        raise ValueError(
            "kind='fluxes' is about the file: pass output=, or take `fluxes` of the result."
        )
    return "parts" if output is None else kind or "fluxes"


def _check_output(image, sources, rms, mask, output, *, resume, overwrite):
    if output is None:
        if resume:
            raise ValueError(
                "resume=True needs output=: only what goes to a file is kept to be resumed."
            )
        return None
    inputs = {"image": image, "sources": sources, "rms": rms, "mask": mask}
    check_paths(inputs, {"output": output})
    if Path(output).suffix != ".fits":
        raise ValueError(
            "output must end in .fits: a file that is written piece by piece cannot be packed. "
            f"Got {output} instead."
        )
    return check_target(output, overwrite).resolve()


def _open_sources(sources, shape, labels_hdu):
    """Return what reads the sources of windows."""
    if hasattr(sources, "colnames"):
        return PlaceSources(check_positions(sources, shape, "sources"), shape)
    if isinstance(sources, Instances):
        known = InstanceSources(sources)
    elif is_path(sources):
        path = Path(sources)
        known = LabelSources(find_labels(path, labels_hdu, scan(path)))
    elif isinstance(sources, np.memmap):
        known = LabelSources(sources)
    else:
        known = LabelSources(np.asarray(as_label_map(sources, "sources")))
    if known.shape != tuple(shape):
        raise ValueError(
            f"sources has shape {known.shape}, but the image has {tuple(shape)}: pass the sources "
            "of this image."
        )
    return known
