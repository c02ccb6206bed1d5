"""Words for the signatures of the package: what users may pass, and what comes back."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._instances import Instances

if TYPE_CHECKING:  # for type checkers only: this module lies below `io`
    from ..io import Field

#: A stack of images, a list of images of different sizes, a field, or a list of fields.
Images: TypeAlias = "ArrayLike | Sequence[ArrayLike] | Field | Sequence[Field]"
#: Truth or prediction of one image or of many, in any form.
Sources: TypeAlias = ArrayLike | Instances | Sequence[ArrayLike | Instances]

Floats: TypeAlias = NDArray[np.floating[Any]]
Labels: TypeAlias = NDArray[np.int32]

#: Which HDU of a FITS file: number, name, or name and version.
Hdu: TypeAlias = int | str | tuple[str, int] | None
#: Rows and columns of an image.
Section: TypeAlias = tuple[slice, slice]
RandomState: TypeAlias = int | np.random.RandomState | None


class Predictor(Protocol):
    """A segmenter, a pipeline that ends in one, or whatever else predicts sources."""

    def predict(self, X: Any, /) -> Any:
        """Find the sources in images."""
