"""How the nets are trained: constructor arguments, number of patches, and how fast they learn.

The one place to change a recipe. A budget of minutes becomes a number of epochs by `rate`, the
patches that two cores of the reference machine train on in a second, so that a run repeats; with
``--clock`` training ends by the clock, whatever the machine.
"""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Recipe:
    """Training of one net in one setting.

    Parameters
    ----------
    params : callable
        ``params(epochs)`` returns the constructor's arguments.
    n_train : int
        Patches to train on.
    rate : float
        Patches a second on two cores of the reference machine (AMD EPYC with bfloat16).
    least_epochs : int
        A small budget trains on fewer patches rather than for fewer epochs than this.
    choose : dict
        Grid of parameters that are chosen on training patches after the training, no further
        training needed.
    least_pixels : int
        Sources with fewer pixels are left out of the truth that it learns.
    """

    params: Callable
    n_train: int
    rate: float
    least_epochs: int = 3
    choose: dict = field(default_factory=dict)
    least_pixels: int = 1


def plan(recipe, budget, speed=1.0):
    """Number of patches and epochs that fit into `budget` minutes on a machine `speed` times as
    fast.
    """
    affordable = 60 * budget * recipe.rate * speed
    n_train = int(min(recipe.n_train, max(affordable / recipe.least_epochs, 16)))
    return n_train, max(recipe.least_epochs, round(affordable / n_train))


FUSED = {"net_params": {"optimizer__fused": True}}
COMPONENTS = {"n_pixels": (5, 8, 10), "deblend": (False, True)}


def unet(epochs):
    return {"max_epochs": epochs}


def mask_rcnn(epochs):
    return {"max_epochs": epochs, "validation_fraction": 0.05, "patience": None, **FUSED}


def mask2former(epochs):
    return {"max_epochs": epochs, "batch_size": 8, "n_heads": 4, "patience": None}


def detr(epochs):
    return {"architecture": "detr", "max_epochs": epochs, "batch_size": 8, "patience": None}


RECIPES = {
    ("unet", "A"): Recipe(unet, n_train=1024, rate=25),
    ("unet_long", "A"): Recipe(unet, n_train=4096, rate=25),
    ("unet", "B"): Recipe(unet, n_train=4000, rate=100, choose=COMPONENTS),
    ("unet", "C"): Recipe(unet, n_train=128, rate=6, choose=COMPONENTS),
    ("smp_unet", "A"): Recipe(unet, n_train=1024, rate=10),
    ("smp_unet", "B"): Recipe(unet, n_train=4000, rate=40),
    ("smp_unet", "C"): Recipe(
        lambda epochs: {"max_epochs": epochs, "batch_size": 4}, n_train=128, rate=2.5
    ),
    ("mask_rcnn", "A"): Recipe(mask_rcnn, n_train=1024, rate=3.6),
    ("mask_rcnn", "B"): Recipe(mask_rcnn, n_train=4000, rate=13.3),
    ("mask_rcnn", "C"): Recipe(mask_rcnn, n_train=128, rate=0.9),
    # an epoch takes as many patches of 128² as cover an image: 4 in A, 1 in B, 16 in C
    ("mask2former", "A"): Recipe(mask2former, n_train=1024, rate=8),
    ("mask2former", "B"): Recipe(mask2former, n_train=4000, rate=33),
    ("mask2former", "C"): Recipe(mask2former, n_train=128, rate=2),
    ("detr", "A"): Recipe(detr, n_train=1024, rate=5),
    ("detr", "B"): Recipe(detr, n_train=4000, rate=20),
    ("detr", "C"): Recipe(detr, n_train=128, rate=1.2),
}
