"""Which sources share light, where their centres are, and how far their light may reach."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage, sparse

_SMOOTHING = 1.0  # pixels: standard deviation of the Gaussian before peaks are sought
_LEAST_REACH = 3.0  # pixels that the light of a source reaches beyond its mask
_MOST_REACH = 64.0
_MOST_RADIUS = 1.3  # of a peak from the middle of its mask, in standard deviations
_TOUCHING = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class Blend:
    """Sources whose masks touch, and the pixels that their light is divided in.

    Attributes
    ----------
    members : ndarray of int, shape (n,)
        The sources, as indices of the image's `Instances`.
    window : tuple of slice
        Rows and columns of the bounding box.
    region : ndarray of bool
        The pixels of the window that belong to this blend and to no other.
    """

    members: np.ndarray
    window: tuple[slice, slice]
    region: np.ndarray


def find_blends(sources, growth):
    """Divide the sources of an image into blends.

    Sources whose masks overlap or touch, at a corner too, form a blend. Its region is its masks,
    grown by `growth` times the radius of a circle of their area, at least 3 and at most 64 pixels;
    a pixel that two blends reach goes to the nearer one. So a blend depends on what is near it
    alone.

    Parameters
    ----------
    sources : Instances
    growth : float
        Growth of the region in radii.

    Returns
    -------
    list of Blend
    """
    if not len(sources):
        return []
    pieces, n_pieces = ndimage.label(sources.to_mask(), _TOUCHING)
    group_of_piece, group_of_source = _join_pieces(sources, pieces, n_pieces)
    groups = np.concatenate([[0], group_of_piece + 1])[pieces]
    areas = np.bincount(groups.ravel())
    reach = largest_reach(areas, growth)
    distance, nearest = ndimage.distance_transform_edt(groups == 0, return_indices=True)
    grown = groups[tuple(nearest)]
    grown[distance > reach[grown]] = 0
    order = np.argsort(group_of_source, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(group_of_source[order])) + 1)
    windows = ndimage.find_objects(grown)
    return [
        Blend(group, window, grown[window] == number)
        for number, (group, window) in enumerate(zip(members, windows, strict=True), start=1)
    ]


def group_sources(sources):
    """Number of the blend of each source: those whose masks overlap or touch have the same."""
    pieces, n_pieces = ndimage.label(sources.to_mask(), _TOUCHING)
    return _join_pieces(sources, pieces, n_pieces)[1]


def largest_reach(areas, growth):
    """Pixels that the light of blends with masks of so many pixels may reach beyond them."""
    return np.clip(growth * np.sqrt(areas / np.pi), _LEAST_REACH, _MOST_REACH)


def _join_pieces(sources, pieces, n_pieces):
    """Number the groups of connected pieces: a source whose mask has several pieces joins them."""
    rows, columns, first = [], [], np.empty(len(sources), dtype=np.int64)
    for index, ((y0, x0, y1, x1), crop) in enumerate(
        zip(sources.boxes.tolist(), sources.crops, strict=True)
    ):
        own = np.unique(pieces[y0:y1, x0:x1][crop]) - 1
        first[index] = own[0]
        rows.extend(own[:-1].tolist())
        columns.extend(own[1:].tolist())
    links = sparse.coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(n_pieces, n_pieces))
    _, group_of_piece = sparse.csgraph.connected_components(links, directed=False)
    return group_of_piece, group_of_piece[first]


def smooth_light(image):
    """Smooth an image without NaN slightly."""
    return ndimage.gaussian_filter(image, _SMOOTHING)


def nearest_pixels(places):
    """Whole pixels nearest to places; a half goes up, so that all frames agree."""
    return np.floor(np.asarray(places) + 0.5).astype(np.int64)


def find_peaks(smooth):
    """Pixels of an image from `smooth_light` that none of their eight neighbours exceeds."""
    return smooth >= ndimage.maximum_filter(smooth, 3)


def find_centres(sources, smooth, is_peak, members, corner=(0, 0)):
    """Find the centre of each member of a blend: the peak of light in the middle of its mask.

    A peak that is more central in another member's mask belongs to that member. The centre of a
    source without a peak of its own is the mean position of its mask.

    Parameters
    ----------
    sources : Instances
    smooth : ndarray of shape (height, width)
        The image from `smooth_light`.
    is_peak : ndarray of bool, shape (height, width)
        Its peaks. They are those of the whole image: the edge of a mask on a neighbour's flank is
        none.
    members : ndarray of int
    corner : ndarray of int, default=(0, 0)
        Pixel that the centres are counted from. Numbers far from zero are rounded otherwise than
        small ones: counted from a pixel of the blend, centres are the same to the bit in any window
        of a mosaic.

    Returns
    -------
    ndarray of float, shape (n_members, 2)
        ``y, x``, to a fraction of a pixel.
    """
    boxes = sources.boxes[members] - np.tile(np.asarray(corner), 2)
    crops = [sources.crops[index] for index in members.tolist()]
    ellipses = [
        _Ellipse.of_mask(box, crop) for box, crop in zip(boxes.tolist(), crops, strict=True)
    ]
    return np.array(
        [
            _centre(box, crop, smooth, is_peak, own, ellipses, corner)
            for own, box, crop in zip(ellipses, boxes.tolist(), crops, strict=True)
        ]
    )


class _Ellipse(NamedTuple):
    """Mean position and inverse covariance of a mask's pixels."""

    y: float
    x: float
    yy: float
    xx: float
    xy: float

    @classmethod
    def of_mask(cls, box, crop):
        rows, columns = np.nonzero(crop)
        y, x = rows.mean(), columns.mean()
        rows, columns = rows - y, columns - x
        n = len(rows)
        # A pixel has a width.
        yy, xx = rows @ rows / n + 1 / 12, columns @ columns / n + 1 / 12
        xy = rows @ columns / n
        area = yy * xx - xy * xy
        return cls(y + box[0], x + box[1], xx / area, yy / area, -xy / area)

    def radius(self, y, x):
        """Distance from the centre in standard deviations; 2 at the edge of a full ellipse."""
        dy, dx = y - self.y, x - self.x
        return np.sqrt(self.yy * dy * dy + 2 * self.xy * dy * dx + self.xx * dx * dx)


def _centre(box, crop, smooth, is_peak, own, ellipses, corner):
    """Centre of one source; `ellipses` are those of all members of its blend."""
    y0, x0, y1, x1 = box
    dy, dx = corner
    y, x = np.nonzero(crop & is_peak[y0 + dy : y1 + dy, x0 + dx : x1 + dx])
    y, x = y + y0, x + x0
    radius = own.radius(y, x)
    central = radius <= _MOST_RADIUS
    for ellipse in ellipses:
        if ellipse is not own:
            central &= radius <= ellipse.radius(y, x)
    if not central.any():
        return own.y, own.x
    y, x, radius = y[central], x[central], radius[central]
    best = np.argmax(smooth[y + dy, x + dx] * np.exp(-(radius**2) / 2))
    y, x = y[best], x[best]
    place = y + dy, x + dx
    return y + offset_of_peak(smooth, *place, 0), x + offset_of_peak(smooth, *place, 1)


def offset_of_peak(smooth, y, x, axis):
    """Place of the peak between pixels: the vertex of the parabola through three pixels."""
    place = (y, x)[axis]
    if not 0 < place < smooth.shape[axis] - 1:
        return 0.0
    row = smooth[:, x] if axis == 0 else smooth[y]
    below, here, above = row[place - 1 : place + 2]
    curvature = below - 2 * here + above
    return float(np.clip((below - above) / (2 * curvature), -0.5, 0.5)) if curvature < 0 else 0.0


def stamp_boxes(centres, reaches, shape):
    """Boxes ``y0, x0, y1, x1`` around the centres that reach so many pixels, cut at the frame."""
    reaches = np.ceil(reaches)
    low = np.floor(centres) - reaches[:, None]
    high = np.ceil(centres) + reaches[:, None] + 1
    boxes = np.concatenate([low, high], axis=1)
    return np.clip(boxes, 0, [*shape, *shape]).astype(np.int64)
