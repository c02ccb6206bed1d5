"""Outlines of sources as regions: objects of the package `regions`, or text that DS9 reads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..coco._polygons import outline
from ..structures import Instances, check_label_map

if TYPE_CHECKING:
    from astropy.wcs import WCS
    from regions import Regions


def to_regions(sources: ArrayLike | Instances, *, wcs: WCS | None = None) -> Regions:
    """Turn sources into polygons of the package `regions`, along the edges of their pixels.

    Parameters
    ----------
    sources : label map of shape (height, width), `SegmentationImage` or `Instances`
    wcs : `astropy.wcs.WCS`, optional
        Make polygons on the sky instead of polygons in pixels.

    Returns
    -------
    `regions.Regions`
        One polygon for every connected part of a source; holes are filled. ``meta["text"]`` is the
        label, or the place in `Instances` counted from 1.

    Raises
    ------
    ImportError
        If the package `regions` is not installed: `write_regions` does not need it.

    See Also
    --------
    from_regions : The way back.
    """
    regions = _import_regions("to_regions")
    polygons = []
    for label, x, y in outlines(sources):
        meta = regions.RegionMeta({"text": str(label)})
        if wcs is None:
            vertices = regions.PixCoord(x, y)
            polygons.append(regions.PolygonPixelRegion(vertices, meta=meta))
        else:
            sky = wcs.celestial.pixel_to_world(x, y)
            polygons.append(regions.PolygonSkyRegion(sky, meta=meta))
    return regions.Regions(polygons)


def from_regions(
    regions: Iterable[Any] | str | Path, shape: tuple[int, int], *, wcs: WCS | None = None
) -> Instances:
    """Turn regions of any form into masks: a pixel belongs to a region that holds its centre.

    Parameters
    ----------
    regions : `regions.Regions`, list of regions, or path
        Regions in pixels or on the sky; or a file that the package `regions` reads, such as DS9's.
    shape : tuple of int
        ``(height, width)`` of the image.
    wcs : `astropy.wcs.WCS`, optional
        Needed for regions on the sky.

    Returns
    -------
    Instances
        In the order of the regions. Regions whose ``meta["text"]`` is the same belong to one
        source. Regions without a pixel in the image are left out.

    Raises
    ------
    ImportError
        If the package `regions` is not installed.
    ValueError
        If a region is on the sky and there is no `wcs`.
    """
    package = _import_regions("from_regions")
    if isinstance(regions, str | Path):
        regions = package.Regions.read(str(regions))
    masks: dict[Any, np.ndarray] = {}
    for index, region in enumerate(regions):
        mask = _mask_of(package, region, index, shape, wcs)
        if mask is not None and mask.any():
            key = region.meta.get("text") or f"region {index}"
            masks[key] = masks[key] | mask if key in masks else mask
    return Instances.from_masks(masks.values(), shape=shape)


def _mask_of(package, region, index, shape, wcs):
    """Boolean mask of a region; None if it lies outside the image."""
    if isinstance(region, package.SkyRegion):
        if wcs is None:
            raise ValueError(
                f"regions[{index}] is on the sky: pass wcs=, the WCS of the image of shape "
                f"{tuple(shape)}."
            )
        region = region.to_pixel(wcs.celestial)
    image = region.to_mask(mode="center").to_image(shape)
    return None if image is None else image > 0


def outlines(sources):
    """Yield label, x and y of the polygons around sources; pixel centres are whole numbers."""
    if isinstance(sources, Instances):
        labels, instances = np.arange(1, len(sources) + 1), sources
    else:
        labelled = check_label_map(sources, "sources")
        labels, instances = np.unique(labelled[labelled > 0]), Instances.from_label_map(labelled)
    for label, box, crop in zip(labels.tolist(), instances.boxes, instances.crops, strict=True):
        for polygon in outline(box.tolist(), crop):
            x, y = np.reshape(polygon, (-1, 2)).T - 0.5
            yield label, x, y


def outline_lines(sources, wcs):
    """Lines of a region file of DS9: polygons in pixels, or on the sky if there is a WCS."""
    lines = ["image" if wcs is None else "icrs"]
    for label, x, y in outlines(sources):
        if wcs is None:
            points = [f"{a:.1f},{b:.1f}" for a, b in zip(x + 1, y + 1, strict=True)]
        else:
            sky = wcs.celestial.pixel_to_world(x, y).icrs
            points = [f"{a:.7f},{b:.7f}" for a, b in zip(sky.ra.deg, sky.dec.deg, strict=True)]
        lines.append(f"polygon({','.join(points)}) # text={{{label}}}")
    return lines


def _import_regions(what):
    try:
        import regions
    except ImportError as error:
        raise ImportError(
            f"{what} needs the package regions, which is not installed: run `pip install regions`, "
            "or use "
            "write_regions, which writes DS9's format without it."
        ) from error
    return regions
