"""Outline masks by polygons along the edges of their pixels, and fill polygons."""

import numpy as np

from ..structures._rle import decode_crop, decompress

# Directions along the pixel edges as (dy, dx); the next in the list is a right turn.
_STEPS = [(0, 1), (1, 0), (0, -1), (-1, 0)]

# pycocotools allocates memory for every step along an outline, and does not check that it got it.
_LONGEST = 2_000_000


def outline(box, crop):
    """Outline a mask by polygons ``[x0, y0, x1, y1, …]``, which fill to the mask without holes.

    Parameters
    ----------
    box : sequence of 4 int
        ``y0, x0, y1, x1``; the polygons are in the pixels of the image.
    crop : ndarray of bool
        The mask inside its box.

    Returns
    -------
    list of list of float
        One polygon for every part of the mask that holds together by pixel edges.
    """
    polygons = []
    for loop in _loops(_edges(np.pad(crop, 1))):
        y, x = np.array(loop).T
        # Outlines run clockwise, with the mask on their right; the others run around holes.
        if np.dot(x, np.roll(y, -1)) > np.dot(y, np.roll(x, -1)):
            polygons.append(
                np.stack([x + box[1], y + box[0]], axis=1).astype(float).ravel().tolist()
            )
    return polygons


def _edges(mask):
    """Find the edges of a mask as ``{start: [directions]}``, with the mask on the right."""
    edges = {}
    inside = mask[1:-1, 1:-1]
    neighbours = [
        mask[:-2, 1:-1],
        mask[1:-1, 2:],
        mask[2:, 1:-1],
        mask[1:-1, :-2],
    ]  # above, right, below, left
    corners = [(0, 0), (0, 1), (1, 1), (1, 0)]  # where the edge to each neighbour starts
    for direction, (neighbour, (dy, dx)) in enumerate(zip(neighbours, corners, strict=True)):
        for y, x in np.argwhere(inside & ~neighbour).tolist():
            edges.setdefault((y + dy, x + dx), []).append(direction)
    return edges


def _loops(edges):
    """Join edges into closed loops; yield the points where each loop turns."""
    left = dict.fromkeys(
        (point, direction) for point, outgoing in edges.items() for direction in outgoing
    )
    while left:
        edge = first = next(iter(left))
        loop = []
        while not loop or edge != first:
            loop.append(edge)
            del left[edge]
            edge = _following(edge, edges)
        yield [
            edge[0]
            for edge, before in zip(loop, [loop[-1], *loop[:-1]], strict=True)
            if edge[1] != before[1]
        ]


def _following(edge, edges):
    """Find the next edge; at a corner where two parts touch, turn right to stay with the pixel."""
    (y, x), direction = edge
    point = (y + _STEPS[direction][0], x + _STEPS[direction][1])
    turns = ((direction + 1) % 4, direction, (direction - 1) % 4)
    return point, next(turn for turn in turns if turn in edges[point])


def fill(polygons, shape):
    """Turn polygons into a box and a crop, by pycocotools.

    Raises
    ------
    ValueError
        If a polygon is no list of three or more points, lies far outside the image, or has no
        pixel.
    """
    from pycocotools import mask

    height, width = shape
    reach = 2 * max(height, width)
    for polygon in polygons:
        points = np.asarray(polygon)
        if points.dtype.kind not in "iuf" or points.ndim != 1 or len(points) < 6 or len(points) % 2:
            raise ValueError(
                "a polygon is not a list x0, y0, x1, y1, x2, y2, … of at least three points"
            )
        if not np.isfinite(points).all() or np.abs(points).max() > reach:
            raise ValueError(f"a polygon lies outside the image of shape {tuple(shape)}")
        length = np.abs(np.diff(points.reshape(-1, 2), axis=0, append=points[None, :2])).sum()
        if length > _LONGEST:
            raise ValueError(f"a polygon is {length:.0f} pixels long, of at most {_LONGEST}")
    merged = mask.merge(
        mask.frPyObjects([list(map(float, polygon)) for polygon in polygons], height, width)
    )
    return decode_crop(decompress(merged["counts"]), shape)
