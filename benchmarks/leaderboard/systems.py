"""The table of systems: one entry each."""

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import galaxysegment.segmenters
from galaxysegment import PhotutilsSegmenter, UNetSegmenter
from galaxysegment._utils.shipped import shipped_models
from galaxysegment.preprocessing import (
    GaussianSmoother,
    ImageNormalizer,
    LuptonRGB,
    NoiseNormalizer,
    make_variant,
)
from galaxysegment.separation import SegmentThenSeparate
from galaxysegment.structures import Instances

from .grids import (
    BEGIN,
    CANDIDATES,
    CONTRAST,
    FEW,
    GRID,
    MATCHED,
    NOISECHISEL_GRID,
    OUR_GRID,
    PEER_GRID,
    PHOTUTILS,
    PROBABILITIES,
    SAMPLE,
    SEP_FILTERS,
    SEP_GRID,
    SIGMAS,
    STUDY,
    STUDY_FOREST,
    THRESHOLD,
)
from .peers import (
    NoiseChisel,
    NotInstalledError,
    PlainPhotutils,
    PlainSep,
    SExtractor,
    SmpUNet,
    detection_image,
)
from .recipes import RECIPES

PREPARED = ("1", "2", "3", "4", "snr")
#: What the variants are called on the page.
VARIANTS = {
    "raw": "image (and RMS map) as they are",
    "1": "variant 1: normalized",
    "2": "variant 2: Liberator, normalized",
    "3": "variant 3: Liberator + RMS",
    "4": "variant 4: Liberator + log RMS",
    "snr": "asinh of S/N",
    "smooth": "smoothed S/N, clipped at 0 and 3",
    "lupton": "Lupton's asinh colours of S/N",
    "coadd": "mean of the bands, with its RMS map",
    "r": "r band, with the RMS map",
}
AFTER_PROBABILITIES = {"threshold", "n_pixels", "deblend"}


@dataclass(frozen=True)
class System:
    """A row of the tables.

    Parameters
    ----------
    label : str
        What the page calls it.
    make : callable
        ``make(setting, variant, seed, **params)`` returns the unfitted estimator without its
        preprocessing.
    variants : dict of str to tuple of str
        Setting to the preprocessing variants that are run; the last one is the main one.
    n_train : dict of str to int
        Setting to training patches, where no recipe says it.
    grid : dict
        Parameters that are chosen on the training patches; empty for none.
    grids : dict of str to dict
        Setting to the grid that stands for `grid` there.
    sweep : tuple
        Parameter and its values that trade completeness for purity; ("scores", parameters for the
        prediction) where the scores of the sources do.
    peer : bool
        Whether others wrote it.
    net : str
        Name of the net's recipe; empty where there is none.
    fit : bool
        Whether it is fitted at all.
    n_choose : int
        Number of training patches that the parameters are chosen on, at most.
    more_data : bool
        Whether it is trained on more patches than the programs of others. It is not compared with
        them.
    weights : tuple of str
        Class and name of the weights that ship with the package, as ``("UNetSegmenter", "vis")``;
        empty for other systems.
    """

    label: str
    make: Callable
    variants: dict
    n_train: dict = field(default_factory=dict)
    grid: dict = field(default_factory=dict)
    grids: dict = field(default_factory=dict)
    sweep: tuple = ()
    peer: bool = False
    net: str = ""
    fit: bool = True
    n_choose: int = 64
    more_data: bool = False
    weights: tuple = ()

    def grid_of(self, setting):
        """The grid in a setting."""
        return self.grids.get(setting, self.grid)

    @property
    def kind(self):
        """Either "trained", if it learns the weights of a net or a forest, or "tuned"."""
        return "trained" if self.net or self.label.startswith("RandomForest") else "tuned"


def front(variant, setting, stretch="asinh"):
    """Preprocessing of a variant: a list of steps.

    ``stretch="linear"`` for what takes the asinh itself.
    """
    if variant == "raw":
        return []
    if variant in ONE_BAND:
        return [FunctionTransformer(ONE_BAND[variant], kw_args={"rms_band": setting.rms_band})]
    noise = {
        "rms_band": setting.rms_band,
        "subtract_background": False,
    }  # the field's is gone already
    if variant == "snr":
        return [NoiseNormalizer(**noise, stretch=stretch)]
    if variant == "smooth":
        return [
            NoiseNormalizer(**noise),
            GaussianSmoother(fwhm=3),
            ImageNormalizer(interval=(0, 3)),
        ]
    if variant == "lupton":
        return [NoiseNormalizer(**noise), LuptonRGB(order=(2, 1, 0))]
    return [make_variant(int(variant))]


def coadd(X, rms_band):
    """Mean of the bands and its RMS, shape (n, 2, height, width), as the peers see it."""
    return np.stack([np.stack(detection_image(image, rms_band)) for image in X])


def r_band(X, rms_band):
    """The r band of g, r, z and the RMS map, shape (n, 2, height, width)."""
    return np.stack([X[:, 1], X[:, rms_band]], axis=1)


ONE_BAND = {"coadd": coadd, "r": r_band}


def build(system, setting, variant, seed, **params):
    """Make the pipeline of a system."""
    stretch = "linear" if system.net and not system.peer else "asinh"
    return make_pipeline(
        *front(variant, setting, stretch), system.make(setting, variant, seed, **params)
    )


def ours(name, seeded=False, rms=False, **fixed):
    """Return a maker of one of the package's segmenters."""

    def make(setting, variant, seed, **params):
        cls = getattr(galaxysegment.segmenters, name, None)
        if cls is None:
            raise NotInstalledError(f"galaxysegment.segmenters has no {name} yet.")
        if seeded:
            params = {"random_state": seed, **params}
        if rms and variant in ("raw", *ONE_BAND):
            params = {"rms_band": setting.rms_band, **params}
        return cls(**{**fixed, **params})

    return make


def peer(cls, **fixed):
    def make(setting, variant, seed, **params):  # noqa: ARG001 - they are random in nothing
        return cls(rms_band=setting.rms_band, **{**fixed, **params})

    return make


def make_smp(setting, variant, seed, **params):  # noqa: ARG001 - preprocessing comes before it
    return SmpUNet(random_state=seed, **params)


def refined(setting, variant, seed, **params):  # noqa: ARG001 - it is random in nothing
    """`PhotutilsSegmenter`, then the light divided among its sources and their neighbours."""
    return SegmentThenSeparate(PhotutilsSegmenter(), refine=True, **params)


RAW = {"A": ("raw",), "B": ("raw",), "C": ("raw",)}
ALL = {**RAW, "C8": ("raw",)}
SHIPPED = {"A": ("raw",), "B": ("raw",), "C": ("coadd", "r"), "C8": ("r",)}  # nets of one band
NETS = {"A": PREPARED, "B": ("raw",), "C": ("lupton", "snr")}


def shipped(name, weights, sweep):
    """Return the system of a net that ships, as it is."""
    return System(
        f'{name}, shipped weights "{weights}"',
        ours(name, rms=True, weights=weights),
        SHIPPED,
        sweep=sweep,
        fit=False,
        more_data=True,
        weights=(name, weights),
    )


SYSTEMS = {
    "photutils_2022": System(
        "PhotutilsSegmenter, recipe of [Saverese2022]_",
        ours("PhotutilsSegmenter", rms=True, **STUDY),
        {"A": ("1", "2", "3", "4")},
        sweep=("n_sigma", SIGMAS),
    ),
    "photutils": System(
        "PhotutilsSegmenter, defaults",
        ours("PhotutilsSegmenter", rms=True),
        ALL,
        sweep=("n_sigma", SIGMAS),
    ),
    "photutils_tuned": System(
        "PhotutilsSegmenter, tuned",
        ours("PhotutilsSegmenter", rms=True, deblend=True, **THRESHOLD),
        ALL,
        n_train=FEW,
        grid=PEER_GRID | CONTRAST | OUR_GRID,
        grids={"C": GRID | OUR_GRID, "C8": GRID | OUR_GRID},
        sweep=("n_sigma", SIGMAS),
    ),
    "photutils_refined": System(
        "PhotutilsSegmenter, refined",
        refined,
        {"B": ("raw",)},
    ),
    "sep": System(
        "SEPSegmenter, defaults",
        ours("SEPSegmenter", rms=True),
        ALL,
        sweep=("n_sigma", SIGMAS),
    ),
    "sep_tuned": System(
        "SEPSegmenter, tuned",
        ours("SEPSegmenter", rms=True, deblend=True, **THRESHOLD),
        ALL,
        n_train=FEW,
        grid=SEP_GRID | CONTRAST | OUR_GRID,
        grids={"C": GRID | OUR_GRID, "C8": GRID | OUR_GRID},
        sweep=("n_sigma", SIGMAS),
    ),
    "photutils_common": System(
        "PhotutilsSegmenter, tuned on the common grid",
        ours("PhotutilsSegmenter", rms=True, deblend=True, **THRESHOLD),
        {"C": ("raw",)},
        n_train=FEW,
        grid=GRID,
    ),
    "sep_common": System(
        "SEPSegmenter, tuned on the common grid",
        ours("SEPSegmenter", rms=True, deblend=True, **THRESHOLD),
        {"C": ("raw",)},
        n_train=FEW,
        grid=GRID,
    ),
    "kmeans": System(
        "KMeansSegmenter",
        ours("KMeansSegmenter", seeded=True),
        {"A": (*PREPARED, "smooth"), "B": ("raw", "smooth"), "C": ("lupton", "smooth")},
        n_train=SAMPLE,
    ),
    "random_forest": System(
        "RandomForestSegmenter",
        ours("RandomForestSegmenter", seeded=True, rms=True, n_jobs=2),
        {"A": ("1", "2", "3", "4", "raw"), "B": ("raw",), "C": ("raw",)},
        n_train=SAMPLE,
        grid={"threshold": (0.3, 0.4, 0.5, 0.6), "deblend": (False, True)},
        n_choose=16,
        sweep=("threshold", PROBABILITIES),
    ),
    "random_forest_2022": System(
        "RandomForestSegmenter, recipe of [Saverese2022]_",
        ours("RandomForestSegmenter", seeded=True, n_jobs=2, **STUDY_FOREST),
        {"A": ("4",)},
        n_train={"A": 500},
        sweep=("threshold", PROBABILITIES),
        more_data=True,
    ),
    "unet_shipped": shipped("UNetSegmenter", "vis", ("threshold", PROBABILITIES)),
    "unet_shipped_tuned": dataclasses.replace(
        shipped("UNetSegmenter", "vis", ("threshold", PROBABILITIES)),
        label='UNetSegmenter, shipped weights "vis", tuned',
        variants={"A": ("raw",)},
        n_train={"A": 16},
        grid={
            "threshold": (0.2, 0.3, 0.4, 0.5, 0.6),
            "n_pixels": (5, 8, 10),
            "deblend": (False, True, "galaxy"),
        },
    ),
    "unet_sky": shipped("UNetSegmenter", "sky", ("threshold", PROBABILITIES)),
    "mask_rcnn_blends": shipped("MaskRCNNSegmenter", "blends", CANDIDATES),
    "unet": System(
        "UNetSegmenter",
        ours("UNetSegmenter", seeded=True),
        {**NETS, "A": ("raw", *PREPARED)},
        sweep=("threshold", PROBABILITIES),
        net="unet",
    ),
    "unet_long": System(
        "UNetSegmenter, 4096 patches",
        ours("UNetSegmenter", seeded=True),
        {"A": ("snr",)},
        sweep=("threshold", PROBABILITIES),
        net="unet_long",
        more_data=True,
    ),
    "mask_rcnn": System(
        "MaskRCNNSegmenter",
        ours("MaskRCNNSegmenter", seeded=True),
        {**NETS, "A": ("raw", *PREPARED)},
        sweep=CANDIDATES,
        net="mask_rcnn",
    ),
    "mask_rcnn_stages": System(
        "MaskRCNNSegmenter, four stages with SGD",
        ours("MaskRCNNSegmenter", seeded=True),
        {"C8": ("lupton",)},
        sweep=CANDIDATES,
        net="mask_rcnn_stages",
    ),
    "mask2former": System(
        "DETRSegmenter, mask2former on a U-Net",
        ours("DETRSegmenter", seeded=True),
        NETS,
        sweep=CANDIDATES,
        net="mask2former",
    ),
    "detr": System(
        "DETRSegmenter, detr on a U-Net",
        ours("DETRSegmenter", seeded=True),
        NETS,
        sweep=CANDIDATES,
        net="detr",
    ),
    "plain_photutils": System(
        "photutils", peer(PlainPhotutils, **PHOTUTILS), ALL, sweep=("n_sigma", SIGMAS), peer=True
    ),
    "plain_photutils_tuned": System(
        "photutils, tuned",
        peer(PlainPhotutils, **PHOTUTILS),
        ALL,
        n_train=FEW,
        grid=PEER_GRID,
        grids={"C8": GRID},
        sweep=("n_sigma", SIGMAS),
        peer=True,
    ),
    "plain_sep": System("sep", peer(PlainSep), ALL, sweep=("n_sigma", SIGMAS), peer=True),
    "plain_sep_tuned": System(
        "sep, tuned",
        peer(PlainSep, **BEGIN),
        ALL,
        n_train=FEW,
        grid={**SEP_FILTERS, **SEP_GRID, "n_sigma": MATCHED} | CONTRAST,
        grids={"C8": SEP_FILTERS | GRID},
        sweep=("n_sigma", SIGMAS),
        peer=True,
    ),
    "sextractor": System("SExtractor", peer(SExtractor), ALL, sweep=("n_sigma", SIGMAS), peer=True),
    "sextractor_tuned": System(
        "SExtractor, tuned",
        peer(SExtractor, **BEGIN),
        ALL,
        n_train=FEW,
        grid=PEER_GRID,
        grids={"C8": GRID},
        sweep=("n_sigma", SIGMAS),
        peer=True,
    ),
    "plain_photutils_common": System(
        "photutils, tuned on the common grid",
        peer(PlainPhotutils, **PHOTUTILS),
        {"C": ("raw",)},
        n_train=FEW,
        grid=GRID,
        peer=True,
    ),
    "plain_sep_common": System(
        "sep, tuned on the common grid",
        peer(PlainSep, **BEGIN),
        {"C": ("raw",)},
        n_train=FEW,
        grid=SEP_FILTERS | GRID,
        peer=True,
    ),
    "sextractor_common": System(
        "SExtractor, tuned on the common grid",
        peer(SExtractor, **BEGIN),
        {"C": ("raw",)},
        n_train=FEW,
        grid=GRID,
        peer=True,
    ),
    "noisechisel": System("NoiseChisel", peer(NoiseChisel), RAW, peer=True),
    "noisechisel_tuned": System(
        "NoiseChisel, tuned",
        peer(NoiseChisel),
        RAW,
        n_train=FEW | {"C": 4},
        grid=NOISECHISEL_GRID,
        peer=True,
    ),
    "smp_unet": System(
        "segmentation_models_pytorch U-Net",
        make_smp,
        {"A": ("snr",), "B": ("snr",), "C": ("snr",)},
        net="smp_unet",
        peer=True,
    ),
}


def recipe_of(system, setting):
    return RECIPES[system.net, setting.name] if system.net else None


def version_of_weights(system):
    """Name and version of the weights that ship, as ``"sky 1.1"``; None for other systems."""
    for model in shipped_models():
        if (model.estimator, model.name) == system.weights:
            return f"{model.name} {model.version}"
    return None


def choices(grid):
    """All combinations of a grid: list of dict."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def set_last(estimator, params):
    """Set parameters of the last step of a pipeline, as far as it has them."""
    last = estimator[-1]
    last.set_params(**{name: value for name, value in params.items() if name in last.get_params()})
    return estimator


def predict(estimator, X):
    """List of Instances, whatever the segmenter."""
    return estimator.predict(np.asarray(X), output="instances")


def _predict_unscored(estimator, X):
    """As `predict`, in half the time where scores would need the background again."""
    if estimator[-1].finds_instances:
        return predict(estimator, X)
    return [Instances.from_label_map(labels) for labels in estimator.predict(np.asarray(X))]


def predict_many(estimator, X, settings):
    """Yield the prediction for each dict of parameters of the last step.

    Where nothing but what follows the probabilities changes, they are computed once. Sources from
    label maps have no scores here, which no choice looks at.
    """
    last = estimator[-1]
    if not (
        hasattr(last, "predict_proba")
        and not last.classifies_sources  # which probabilities alone do not tell
        and {name for params in settings for name in params} <= AFTER_PROBABILITIES
    ):
        for params in settings:
            yield _predict_unscored(set_last(estimator, params), X)
        return
    images, _ = last._check_images(estimator[:-1].transform(X) if len(estimator) > 1 else X)
    predicted = zip(last._images_proba(images), images, strict=True)
    probas = [np.where(last._no_data(image), np.float32(0), proba) for proba, image in predicted]
    if isinstance(last, UNetSegmenter):  # which deblends the image that its net sees
        images = last._scale_all(images)
    for params in settings:
        set_last(estimator, params)
        yield [
            last._with_scores(last._sources(*item), last._maps_of(*item))
            for item in zip(probas, images, strict=True)
        ]
