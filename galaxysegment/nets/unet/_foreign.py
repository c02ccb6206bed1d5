"""A module of the user in the place of the U-Net."""

from torch import nn
from torch.nn import functional

__all__ = ["ForeignModule"]

_MULTIPLE = 32  # pixels; five halvings of the size, as most encoders have them
_HALO = 128  # pixels


class ForeignModule(nn.Module):
    """Give a module images of sides that it can halve, and check what it returns.

    Parameters
    ----------
    module : callable
        ``module(n_bands=…, **params)`` returns a torch module that turns (n, n_bands, height,
        width) into logits of shape (n, 1, height, width). Its attributes ``multiple`` (sides of the
        input are multiples of it, 32 if it is missing) and ``halo`` (how far it looks, 128 pixels
        if it is missing) count.
    n_bands : int
    **params
        More arguments of `module`.
    """

    foldable = False  # nobody knows in which order it runs its layers

    def __init__(self, *, module, n_bands, **params):
        super().__init__()
        self.inner = module(n_bands=n_bands, **params)
        self.multiple = getattr(self.inner, "multiple", _MULTIPLE)
        halo = getattr(self.inner, "halo", _HALO)
        self.halo = -(-halo // self.multiple) * self.multiple

    def forward(self, x):
        """Return logits (n, 1, height, width)."""
        height, width = x.shape[-2:]
        # two pixels of the deepest level, or one small image alone has no batch statistics
        padding = [max(-side % self.multiple, 2 * self.multiple - side) for side in (width, height)]
        padded = functional.pad(x, (0, padding[0], 0, padding[1]))
        logits = self.inner(padded)
        expected = (len(x), 1, *padded.shape[-2:])
        if tuple(logits.shape) != expected:
            raise ValueError(
                f"module turned images of shape {tuple(padded.shape)} into an output of shape "
                f"{tuple(logits.shape)}: it must return the logits of galaxies, of shape "
                f"{expected}."
            )
        return logits[..., :height, :width]
