"""How the nets are trained: a file for each net and setting in ``train_recipes``.

The one place to change a recipe. A budget of minutes becomes a number of epochs by `rate`, the
patches that two cores of the reference machine train on in a second, so that a run repeats; with
``--clock`` training ends by the clock, whatever the machine.
"""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parent / "train_recipes"


@dataclass(frozen=True)
class Recipe:
    """Training of one net in one setting: the content of a file as ``A-unet.toml``.

    Parameters
    ----------
    n_train : int
        Patches to train on.
    rate : float
        Patches a second on two cores of the reference machine (AMD EPYC with bfloat16).
    params : dict
        Arguments of the constructor, but for the number of epochs. A file writes None as "None".
    least_epochs : int
        A small budget trains on fewer patches rather than for fewer epochs than this.
    choose : dict
        Grid of parameters that are chosen on training patches after the training, no further
        training needed.
    least_pixels : int
        Sources with fewer pixels are left out of the truth that it learns.
    """

    n_train: int
    rate: float
    params: dict = field(default_factory=dict)
    least_epochs: int = 3
    choose: dict = field(default_factory=dict)
    least_pixels: int = 1

    def arguments(self, epochs):
        """Arguments of the constructor for a training of so many epochs."""
        return {"max_epochs": epochs, **self.params}


def plan(recipe, budget, speed=1.0):
    """Number of patches and epochs that fit into `budget` minutes on a machine `speed` times as
    fast.
    """
    affordable = 60 * budget * recipe.rate * speed
    n_train = int(min(recipe.n_train, max(affordable / recipe.least_epochs, 16)))
    return n_train, max(recipe.least_epochs, round(affordable / n_train))


def read_recipes(folder=FOLDER):
    """Read all files: dict of (net, setting) to `Recipe`."""
    recipes = {}
    for path in sorted(folder.glob("*.toml")):
        setting, net = path.stem.split("-")
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        params = content.pop("params", {})
        params = {name: None if value == "None" else value for name, value in params.items()}
        recipes[net, setting] = Recipe(params=params, **content)
    return recipes


RECIPES = read_recipes()
