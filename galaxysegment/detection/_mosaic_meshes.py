"""Background meshes of a mosaic, for code that asks for those of the image it sees.

While a window of a mosaic is worked on, `background_meshes` gives whoever asks the meshes of the whole
mosaic, seen through the window: neither the tiles nor their sizes show in them. Which mesh is meant is told
by the order of asking, so who asks must ask for every band, be it without data.
"""

from contextlib import contextmanager
from contextvars import ContextVar

_SESSION = ContextVar("galaxysegment_mosaic_meshes", default=None)


class Measured(Exception):  # noqa: N818 (no error: it carries a result out of code that would go on)
    """The boxes of a strip are measured; nothing else is wanted of it."""

    def __init__(self, dtype, statistics):
        super().__init__("boxes are measured")
        self.dtype, self.statistics = dtype, statistics


class _Session:
    """One window: counts the questions."""

    def __init__(self, meshes, corner, on_unknown):
        self.meshes, self.corner, self.on_unknown, self.n_asked = meshes, corner, on_unknown, 0

    def ask(self, image, mask, options):
        index = self.n_asked
        self.n_asked += 1
        if index < len(self.meshes):
            return tuple(mesh.at(*self.corner) for mesh in self.meshes[index])
        return self.on_unknown(image, mask, options)


def known_meshes(image, mask, options):
    """Return the mosaic's meshes while one of its windows is worked on; None otherwise."""
    session = _SESSION.get()
    return None if session is None else session.ask(image, mask, options)


def is_window():
    """Whether a window of a mosaic is worked on."""
    return _SESSION.get() is not None


@contextmanager
def window_of(meshes, corner, on_unknown=None):
    """Work on a window of a mosaic.

    Parameters
    ----------
    meshes : list of tuple of MeshMap
        Background and noise, in the order in which they will be asked for.
    corner : tuple of int
        Row and column of the window's first pixel in the mosaic.
    on_unknown : callable, optional
        ``on_unknown(image, mask, options)`` answers a question beyond the list: None, for the meshes of the
        window itself, or it raises.
    """
    token = _SESSION.set(_Session(meshes, corner, on_unknown or _refuse))
    try:
        yield
    finally:
        _SESSION.reset(token)


def _refuse(_image, _mask, _options):
    raise RuntimeError(
        "A step asked for another background mesh than when it was shown the mosaic: report this as a bug."
    )
