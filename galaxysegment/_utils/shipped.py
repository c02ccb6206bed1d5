"""The registry of the nets that ship with the package: ``galaxysegment models`` lists it.

A new net is its weights and its card in ``segmenters/weights`` and one entry in ``models.json``
there.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parents[1] / "segmenters" / "weights"


@dataclass(frozen=True)
class ShippedModel:
    """One net that ships with the package.

    Attributes
    ----------
    estimator : str
        Class that takes it, as in ``UNetSegmenter(weights="vis")``.
    name : str
        Value of its parameter `weights`.
    version : str
        Rises when the weights change.
    path : `pathlib.Path`
        The model file.
    sha256 : str
        Checksum of that file, in hexadecimal digits.
    card : `pathlib.Path`
        What the net was trained on, how well it does, and where it fails, as Markdown. It begins
        with metadata between two lines of ``---``: a model card as Hugging Face has them.
    recipe : str
        Command that trains it again.
    summary : str
        What it finds in which images.
    any_bands : bool, default=False
        Whether it takes images of any number of bands.
    """

    estimator: str
    name: str
    version: str
    path: Path
    sha256: str
    card: Path
    recipe: str
    summary: str
    any_bands: bool = False

    def is_intact(self) -> bool:
        """Whether the file has the checksum of the registry."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256

    def card_text(self) -> str:
        """Return the card without the metadata that begin it, which Hugging Face reads."""
        return self.card.read_text(encoding="utf-8").split("\n---\n", 1)[1]


def shipped_models(estimator: str | None = None) -> list[ShippedModel]:
    """List the nets that ship with the package.

    Parameters
    ----------
    estimator : str, optional
        Name of a class: only its nets.

    Returns
    -------
    list of ShippedModel
        The first of an estimator is the one to start with.

    Examples
    --------
    >>> sorted({model.estimator for model in shipped_models()})
    ['MaskRCNNSegmenter', 'UNetSegmenter', 'UNetSeparator']
    >>> [model.name for model in shipped_models("UNetSegmenter")]
    ['vis', 'sky', 'bands']
    """
    entries = json.loads((_FOLDER / "models.json").read_text(encoding="utf-8"))
    models = []
    for entry in entries:
        path, card = _FOLDER / entry.pop("file"), _FOLDER / entry.pop("card")
        models.append(ShippedModel(path=path, card=card, **entry))
    return [model for model in models if estimator in (None, model.estimator)]
