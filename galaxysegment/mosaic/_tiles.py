"""How a mosaic is cut: windows, and tiles that own a core and read a halo around it."""

from dataclasses import dataclass
from itertools import pairwise
from math import ceil


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels, half-open."""

    y0: int
    x0: int
    y1: int
    x1: int

    @property
    def shape(self):
        """``(height, width)``."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def slices(self):
        """Rows and columns."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def grow(self, n_pixels, shape, phase=1):
        """Add a frame of `n_pixels`, cut at the image; begin at a multiple of `phase`."""
        return Window(
            max(0, self.y0 - n_pixels) // phase * phase,
            max(0, self.x0 - n_pixels) // phase * phase,
            min(shape[0], self.y1 + n_pixels),
            min(shape[1], self.x1 + n_pixels),
        )

    def within(self, outer):
        """Where this window lies in an array that holds `outer`: rows and columns."""
        return (
            slice(self.y0 - outer.y0, self.y1 - outer.y0),
            slice(self.x0 - outer.x0, self.x1 - outer.x0),
        )

    def __str__(self):
        return f"rows {self.y0}:{self.y1}, columns {self.x0}:{self.x1}"


@dataclass(frozen=True)
class Tile:
    """One piece of work: the pixels it answers for and the pixels it looks at."""

    index: int
    core: Window
    read: Window

    def __str__(self):
        return f"tile {self.index}, {self.core}"


def cut_tiles(shape, tile_size, overlap, phase=1):
    """Cut an image into tiles in rows of tiles.

    Parameters
    ----------
    shape : tuple of int
        ``(height, width)``.
    tile_size : int
        Largest side of a core; the cores are made about equal, so that none is a sliver.
    overlap : int
        Pixels that a tile reads beyond its core on each side.
    phase : int, default=1
        What a tile reads begins at a multiple of this many pixels.

    Returns
    -------
    list of list of Tile
    """
    rows, columns = (_edges(side, tile_size) for side in shape)
    tiles, index = [], 0
    for y0, y1 in rows:
        line = []
        for x0, x1 in columns:
            core = Window(y0, x0, y1, x1)
            line.append(Tile(index, core, core.grow(overlap, shape, phase)))
            index += 1
        tiles.append(line)
    return tiles


def _edges(side, tile_size):
    n_tiles = ceil(side / tile_size)
    bounds = [round(side * step / n_tiles) for step in range(n_tiles + 1)]
    return list(pairwise(bounds))
