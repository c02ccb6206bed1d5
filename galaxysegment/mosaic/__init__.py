"""Mosaics of any size: segmented and separated tile by tile, without seams, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._utils.shared import NO_COLLECTION

with NO_COLLECTION:
    from .._utils.paths import check_paths
    from ..base._pipelines import takes_rms
    from ..io import Field
    from ..io._windows import open_pixels
    from ..io._write import check_target
    from ..structures import Instances
    from ..structures._types import Hdu, Predictor
    from ._plan import check_predictor
    from ._run import Run, check_counts, check_segmenter
    from ._work import TileError

if TYPE_CHECKING:
    from ._light import separate_mosaic as separate_mosaic

__all__ = ["TileError", "segment_mosaic", "separate_mosaic"]


if not TYPE_CHECKING:  # else every misspelt name would pass

    def __getattr__(name):
        if name == "separate_mosaic":  # its imports take longer than those of segment_mosaic
            from ._light import separate_mosaic

            return separate_mosaic
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Options(TypedDict, total=False):
    """Arguments that all forms of `segment_mosaic` take."""

    rms: ArrayLike | str | Path | bool | None
    mask: ArrayLike | str | Path | None
    tile_size: int
    overlap: int | None
    n_jobs: int
    progress: bool
    resume: bool
    overwrite: bool
    hdu: Hdu
    rms_hdu: Hdu
    mask_hdu: Hdu
    rms_kind: str
    mask_bits: int | Sequence[int] | None


_Image: TypeAlias = ArrayLike | str | Path | Sequence[str | Path] | Field


@overload
def segment_mosaic(
    segmenter: Predictor,
    image: _Image,
    *,
    output: str | Path,
    kind: str = "labels",
    **options: Unpack[_Options],
) -> Path: ...
@overload
def segment_mosaic(
    segmenter: Predictor,
    image: _Image,
    *,
    output: None = None,
    kind: Literal["labels", "panoptic"] = "labels",
    **options: Unpack[_Options],
) -> NDArray[np.int32] | NDArray[np.int64]: ...
@overload
def segment_mosaic(
    segmenter: Predictor,
    image: _Image,
    *,
    output: None = None,
    kind: Literal["instances"],
    **options: Unpack[_Options],
) -> Instances: ...
def segment_mosaic(
    segmenter,
    image,
    *,
    rms=None,
    mask=None,
    output=None,
    kind="labels",
    tile_size=2048,
    overlap=None,
    n_jobs=1,
    progress=True,
    resume=False,
    overwrite=False,
    hdu=None,
    rms_hdu=None,
    mask_hdu=None,
    rms_kind="rms",
    mask_bits=None,
):
    """Segment an image of any size, tile by tile.

    Every source comes out whole, whatever its size and wherever the tiles meet. Labels are numbered
    in the order of the sources' first pixels, row by row: the result does not depend on tiles or
    workers.

    Parameters
    ----------
    segmenter : segmenter or Pipeline
        Fitted, if it needs to be.
    image : path, list of paths, `galaxysegment.io.Field`, `NDData`, or array
        FITS file (several are bands of one field), of which each worker reads its own tiles; or an
        array of shape (height, width) or (n_bands, height, width).
    rms : path, array or bool, optional
        RMS map, which travels as the last band: the segmenter, or a step before it, must have been
        told by ``rms_band=-1``. If left out, the map that comes with the file, field or `NDData` is
        taken if the segmenter takes one; otherwise its pixels without RMS have no data. True
        insists on such a map, False ignores it.
    mask : path or array, optional
        Mask or data quality map; pixels that are not 0 have no data.
    output : path, optional
        FITS file for the label map, with the WCS of the image. It appears when it is finished. With
        ``.fits.fz``, each row is compressed by RICE: the file has 3 % of the size if there are 160
        sources per million pixels, and 100 million pixels take 0.7 s longer. Without `output`, the
        label map is returned.
    kind : {"labels", "instances", "panoptic"}, default="labels"
        Type of the result without `output`. ``"panoptic"``: class and instance id of each pixel,
        stuff such as artefacts included; a file then holds the class of each pixel behind the label
        map, and `galaxysegment.io.read_panoptic_map` reads both. A file holds the label map. If the
        segmenter finds sources that may overlap, it also holds them all, in the table INSTANCES,
        and the scores and classes of the labels, in the tables SCORES and CLASSES. The scores of
        sources that cannot overlap are in the results of ``kind="instances"`` and
        ``kind="panoptic"`` only.
    tile_size : int, default=2048
        Largest side of a write region in pixels.
    overlap : int, optional
        Context: pixels that a tile reads beyond its write region on each side. By default enough
        for the segmenter, and at least 64.
    n_jobs : int, default=1
        Number of workers; -1 takes one per core. They are threads of this process if the segmenter
        declares ``works_in_threads``, as all that ship without nets do: threads start at once. For
        other segmenters they are processes, which take about 2 s to start. An image of a single
        tile needs no worker. A `joblib.parallel_config` around the call overrules
        this: ``joblib.parallel_config("dask")`` sends tiles to a cluster whose workers see the
        same files, ``joblib.parallel_config("loky")`` to processes. The result is the same.
    progress : bool, default=True
        Show a bar with an estimate of the time left on the standard error stream.
    resume : bool, default=False
        Go on with an unfinished run of the same arguments, if there is one. Segmenter, image, sizes
        of tiles and versions of packages must be the same. Finished tiles are kept in a hidden
        folder beside `output`, with checksums.
    overwrite : bool, default=False
        Replace `output` if it exists. An input is never replaced.
    hdu, rms_hdu, mask_hdu, rms_kind, mask_bits
        Where image, RMS map and mask are in their files and what they hold, as for
        `galaxysegment.io.read_field`.

    Returns
    -------
    ndarray of int32, shape (height, width) or (2, height, width), `Instances`, or `pathlib.Path`
        The label map, the panoptic map, the sources, or the file written. Labels have 64 bits if
        there are more than 2,147,483,647 sources.

    Raises
    ------
    ValueError
        If `output` is one of the files that are read, also by another path or a link. If the
        overlap is too small for the segmenter to be exact, if a step needs statistics of the whole
        image that cannot be measured in blocks of rows, or if `resume` finds a run with other
        arguments.
    FileExistsError
        If `output` exists and `overwrite` is False, also if it appears during the run.
    RuntimeError
        If another process is writing the same output.
    TileError
        If a tile cannot be read or segmented, a worker dies, the disk is full, or the image changes
        during the run. The message says what is kept. `output` appears only when it is finished.

    Warns
    -----
    NoSourcesWarning
        If there is no source.
    LargeBlendWarning
        If blends are too large to be split as a whole.

    Notes
    -----
    If the sources of a segmenter are connected pixels, each decided by the pixels around it, the
    result equals that of the whole image, to the pixel. A segmenter that splits blends
    (``deblend=True``) has to see a blend whole. Blends that a tile cuts are segmented again with
    the pixels around them, unless their bounding box is larger than four tiles. Mask R-CNN and DETR
    look further than their tiles reach, so their masks differ a little near the seams. A label of
    several pieces that do not touch stays one label only if a tile sees all of it.

    Overlapping sources of two tiles are the same source if their masks have an IoU of at least 0.5
    on the pixels that both tiles read. The mask nearest to the middle of its tile is taken, with
    its score and class.

    With ``kind="instances"``, sources that cannot overlap get the scores that `predict` gives them
    on the whole image, up to rounding: each tile adds up the light and the noise of its pixels. A
    file then has a table SCORES behind its label map, with the columns LABEL and SCORE, and a table
    CLASSES if the segmenter tells classes apart. `source_catalog` reads both. A segmenter that does
    not declare its `reach` is the exception: the score is the highest of the
    tiles that see the source.

    Statistics of the whole image, such as the mesh of `PhotutilsSegmenter`'s background, are
    measured before the first tile, in a pass over the whole image.

    If the main process ends, killed or not, its workers end within a second. Ctrl-C lets threads
    finish the tiles that they have begun.

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment import PhotutilsSegmenter
    >>> from galaxysegment.mosaic import segment_mosaic
    >>> image = np.random.default_rng(0).normal(0, 1, (200, 300))
    >>> image[50:60, 90:210] += 20
    >>> labels = segment_mosaic(PhotutilsSegmenter(n_sigma=3), image, tile_size=100, progress=False)
    >>> labels.shape, int(labels.max()), bool((labels[52:58, 92:208] == 1).all())
    ((200, 300), 1, True)
    """
    check_predictor(segmenter)
    check_counts(tile_size, n_jobs, overlap)
    if kind not in {"labels", "instances", "panoptic"}:
        raise ValueError(f"kind must be 'labels', 'instances' or 'panoptic'. Got {kind!r} instead.")
    if output is not None:
        check_paths({"image": image, "rms": rms, "mask": mask}, {"output": output})
        if not Path(output).name.endswith((".fits", ".fits.fz")):
            raise ValueError(
                "output must end in .fits or .fits.fz: a map that is written piece by piece cannot "
                f"be packed as a whole. Got {output} instead."
            )
        output = check_target(output, overwrite).resolve()
    elif resume:
        raise ValueError(
            "resume=True needs output=: only what goes to a file is kept to be resumed."
        )
    hdus = {"hdu": hdu, "rms_hdu": rms_hdu, "mask_hdu": mask_hdu}
    kinds = {"rms_kind": rms_kind, "mask_bits": mask_bits}
    takes = partial(takes_rms, segmenter)
    pixels = open_pixels(image, rms, mask=mask, takes_rms=takes, **hdus, **kinds)
    if output is not None:
        check_paths(pixels.paths(), {"output": output})
    check_segmenter(segmenter, pixels, with_rms=rms is not None and rms is not False)
    settings = {
        "kind": kind,
        "tile_size": tile_size,
        "overlap": overlap,
        "n_jobs": n_jobs if max(pixels.shape) > tile_size else 1,  # a tile needs no worker
        "progress": progress,
        "resume": resume,
        "overwrite": overwrite,
    }
    with NO_COLLECTION:  # each task looks for its own garbage
        return Run(segmenter, pixels, output, **settings).execute()
