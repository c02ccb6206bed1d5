"""The registry of the nets that ship with the package: ``galaxysegment models`` lists it.

A new net is its weights and its card in ``segmenters/weights`` and one entry in ``models.json``
there.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .model_file import DAMAGE, one_line, read_model_file

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


def weights_path(estimator: str, weights: str | Path) -> Path:
    """Return the model file that the parameter `weights` of an estimator means.

    Parameters
    ----------
    estimator : str
        Name of a class.
    weights : str or path
        Name of weights that ship for it, or a model file.

    Raises
    ------
    ValueError
        If it is neither.

    Examples
    --------
    >>> weights_path("UNetSegmenter", "vis").name
    'UNetSegmenter-vis.safetensors'
    """
    path = Path(weights)
    if path.is_file() or path.suffix:
        return path
    shipped = {model.name: model.path for model in shipped_models(estimator)}
    if str(weights) not in shipped:
        names = f"one of {sorted(shipped)} or " if shipped else ""
        raise ValueError(
            f"weights={str(weights)!r} is neither a file nor a name of weights that come with "
            f"{estimator}: use {names}the path of a model file."
        )
    return shipped[str(weights)]


def load_weights(
    estimator: str, weights: str | Path, set_state: Callable[[dict[str, Any]], None]
) -> None:
    """Give an estimator the state that a model file of its class keeps.

    Parameters
    ----------
    estimator : str
        Name of the class.
    weights : str or path
        As of `weights_path`.
    set_state : callable
        Takes the state.

    Raises
    ------
    ValueError
        If the file is of another class, of an estimator that is not fitted, or damaged.
    """
    tree = read_model_file(weights_path(estimator, weights))
    name = tree.get("class") if isinstance(tree, dict) else None
    if name != estimator or not tree.get("state"):
        raise ValueError(
            f"weights={str(weights)!r} holds no fitted {estimator} (but: {name}): pass a file "
            f"that galaxysegment.persistence.save made of a fitted {estimator}."
        )
    try:
        set_state(tree["state"])
    except DAMAGE as error:
        raise ValueError(
            f"weights={str(weights)!r} cannot be used ({type(error).__name__}: "
            f"{one_line(error)}): the file is damaged or of another version of galaxysegment."
        ) from error
