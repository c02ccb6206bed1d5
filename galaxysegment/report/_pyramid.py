"""A picture of an image in zoom levels of tiles, made strip by strip in bounded memory."""

from base64 import b64encode
from io import BytesIO
from typing import NamedTuple

import numpy as np

from ..display import apply_levels, measure_levels

#: Side of a tile.
TILE = 256
_QUALITY = 80  # of JPEG
_SAMPLE = 1 << 22  # pixels that decide about black and white
_N_STRIPS = 32
_PIXELS = 1 << 22  # of a strip
_N_WINDOWS = 8


class Level(NamedTuple):
    """A zoom level: `scale` pixels of the image a side become a pixel of the picture."""

    scale: int
    rows: int
    columns: int
    tiles: list


class Painter:
    """Turns pixels into JPEG, with the same black and white everywhere.

    Parameters
    ----------
    pixels : FieldPixels or ArrayPixels
    bands : list of int
        Three bands for red, green and blue, or one.
    """

    def __init__(self, pixels, bands):
        self.pixels, self.bands = pixels, bands
        self.levels = [measure_levels(band) for band in self._sample()]

    def read(self, rows, columns):
        """Return the bands of a window, float, shape (n_bands, height, width)."""
        return self.pixels.read_parts(rows, columns)[0][self.bands]

    def _sample(self):
        height, width = self.pixels.shape
        n_strips = min(_N_STRIPS, height)
        step = max(1, min(_SAMPLE // (n_strips * width), height // n_strips))
        starts = np.linspace(0, height - step, n_strips).astype(int).tolist()
        strips = [self.read(slice(start, start + step), slice(0, width)) for start in starts]
        return np.concatenate(strips, axis=1)

    def encode(self, values):
        """Return values (n_bands, height, width) as JPEG in base64, the first row at the bottom."""
        from PIL import Image

        shown = apply_levels(values, self.levels)
        picture = Image.fromarray((255 * shown + 0.5).astype(np.uint8)[::-1])
        file = BytesIO()
        picture.save(file, format="JPEG", quality=_QUALITY, optimize=True)
        return b64encode(file.getvalue()).decode("ascii")


def bin_pixels(values, factor):
    """Average squares of pixels that have data; squares at the far edges may be smaller."""
    if factor == 1:
        return values
    n_bands, height, width = values.shape
    padding = -height % factor, -width % factor
    if any(padding) or np.isnan(values).any():
        values = np.pad(values, [(0, 0), (0, padding[0]), (0, padding[1])], constant_values=np.nan)
        blocks = values.reshape(n_bands, -1, factor, values.shape[2] // factor, factor)
        count = np.isfinite(blocks).sum(axis=(2, 4))
        total = np.nansum(blocks, axis=(2, 4), dtype=np.float64)
        return np.where(count, total / np.maximum(count, 1), np.nan).astype(np.float32)
    blocks = values.reshape(n_bands, height // factor, factor, width // factor, factor)
    return blocks.mean(axis=(2, 4), dtype=np.float32)


def choose_factor(painter, budget):
    """Choose the finest scale whose picture takes at most `budget` bytes, by trying some tiles."""
    height, width = painter.pixels.shape
    factor = 1
    while factor < max(height, width):
        size = _expected_size(painter, factor)
        if size <= budget:
            return factor
        # the size falls a little more slowly than the number of pixels
        factor = max(factor + 1, int(factor * np.sqrt(size / budget) * 0.9))
    return factor


def _expected_size(painter, factor):
    """Bytes of all levels from this scale on, four thirds of the first."""
    (height, width), side = painter.pixels.shape, TILE * factor
    rng = np.random.default_rng(factor)
    sizes, areas = 0, 0
    for _ in range(_N_WINDOWS):
        y0, x0 = (int(rng.integers(max(1, length - side + 1))) for length in (height, width))
        window = slice(y0, min(y0 + side, height)), slice(x0, min(x0 + side, width))
        values = bin_pixels(painter.read(*window), factor)
        sizes += len(painter.encode(values))
        areas += values.shape[1] * values.shape[2]
    return 4 / 3 * sizes / areas * (height / factor) * (width / factor)


def make_pyramid(painter, factor, advance):
    """Make the zoom levels, from the finest scale to a level of a single tile.

    Parameters
    ----------
    painter : Painter
    factor : int
        Pixels of the image a side that become a pixel of the finest level.
    advance : callable
        Called with the number of rows read.

    Returns
    -------
    list of Level
        The finest first; tiles row by row from the bottom left.
    """
    height, width = painter.pixels.shape
    levels = _Level(painter, factor, (height, width))
    step = factor * max(1, _PIXELS // (width * factor))
    for y0 in range(0, height, step):
        rows = slice(y0, min(y0 + step, height))
        levels.add(bin_pixels(painter.read(rows, slice(0, width)), factor))
        advance(rows.stop - rows.start)
    return levels.finish()


class _Level:
    """A level that gets its rows from the bottom up and passes their averages to a coarser one."""

    def __init__(self, painter, scale, shape):
        self.painter, self.scale = painter, scale
        self.height, self.width = (-(-side // scale) for side in shape)
        is_last = max(self.height, self.width) <= TILE
        self.coarser = None if is_last else _Level(painter, 2 * scale, shape)
        self.tiles, self.waiting, self.odd = [], [], []

    def add(self, rows):
        """Take rows, shape (n_bands, n_rows, width)."""
        self.waiting.append(rows)
        n_waiting = sum(part.shape[1] for part in self.waiting)
        if n_waiting >= TILE:
            joined = np.concatenate(self.waiting, axis=1)
            n_whole = n_waiting // TILE * TILE
            for y0 in range(0, n_whole, TILE):
                self._cut(joined[:, y0 : y0 + TILE])
            self.waiting = [joined[:, n_whole:].copy()]
        if self.coarser is not None:
            self._pass_on(rows)

    def _pass_on(self, rows):
        joined = np.concatenate([*self.odd, rows], axis=1)
        n_even = joined.shape[1] // 2 * 2
        if n_even:
            self.coarser.add(bin_pixels(joined[:, :n_even], 2))
        self.odd = [joined[:, n_even:].copy()] if n_even < joined.shape[1] else []

    def _cut(self, rows):
        for x0 in range(0, self.width, TILE):
            self.tiles.append(self.painter.encode(rows[:, :, x0 : x0 + TILE]))

    def finish(self):
        """Cut the last rows; return this level and the coarser levels."""
        rest = np.concatenate(self.waiting, axis=1)
        if rest.shape[1]:
            self._cut(rest)
        if self.coarser is not None and self.odd:
            self.coarser.add(bin_pixels(self.odd[0], 2))
        level = Level(self.scale, -(-self.height // TILE), -(-self.width // TILE), self.tiles)
        return [level, *(self.coarser.finish() if self.coarser is not None else [])]
