"""The numbers that published studies report, and the goals set here.

Setting A imitates the images of [Saverese2022]_, setting B those of [Kamath2019]_, setting C those
of [Shah2020]_. Variants 1 to 4 are the preprocessing variants of [Saverese2022]_.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Study:
    """A document whose numbers are quoted; `label` is its entry in docs/guide/bibliography.rst."""

    label: str
    authors: str
    year: str
    title: str
    kind: str


#: None of these documents gives a public address.
STUDIES = (
    Study(
        "Saverese2022",
        "C. Saverese, G. D'Erasmo, A. Ghinassi, A. Potì, A. Rinaldi",
        "2022",
        "AstroStatLearn Project: Galaxy segmentation",
        "course report",
    ),
    Study(
        "Savarese2022",
        "C. Savarese, G. D'Erasmo, A. Ghinassi, A. Potì, A. Ranaldi",
        "2022",
        "AstroStatLearn: A beautiful journey into galaxies segmentation",
        "slides of the same project",
    ),
    Study(
        "Kamath2019",
        "S. Kamath",
        "2019",
        "Separating Overlapping galaxies with Mask R-CNN",
        "CS230 final project report, Stanford University",
    ),
    Study(
        "Shah2020",
        "A. Shah, under instruction of C. Burke, P. Aleo and X. Liu",
        "no date; 2020 or later",
        "Galaxy Segmentation and Deblending Using Deep Learning",
        "poster",
    ),
)
#: The study that each setting imitates.
STUDY_OF = {"A": "Saverese2022", "B": "Kamath2019", "C": "Shah2020"}

PIXELS = ("pixels.mean.iou", "pixels.mean.recall", "pixels.mean.dice", "pixels.mean.accuracy")
FOREST = ("pixels.mean.precision", "pixels.mean.recall", "pixels.mean.accuracy", "pixels.mean.dice")
SEGM = tuple(f"segm.all.{name}" for name in ("AP", "AP50", "AP75", "AR"))
BBOX = tuple(f"bbox.all.{name}" for name in ("AP", "AP50", "AP75", "AR"))
DETECTION = ("sources.precision", "sources.recall", "sources.f1")

#: Names of the paths on the page.
NAMES = {
    "pixels.mean.iou": "IoU",
    "pixels.mean.recall": "recall",
    "pixels.mean.precision": "precision",
    "pixels.mean.dice": "Dice",
    "pixels.mean.accuracy": "accuracy",
    "pixels.pooled.iou": "IoU of all pixels",
    "pixels.pooled.dice": "Dice of all pixels",
    **{path: f"mask {path.rsplit('.', 1)[1]}" for path in SEGM},
    **{path: f"box {path.rsplit('.', 1)[1]}" for path in BBOX},
    "sources.precision": "source precision",
    "sources.recall": "source recall",
    "sources.f1": "source F1",
    "sources of 20 pixels.f1": "F1 of sources of 20 pixels or more",
    "segm.galaxy.AP50": "galaxies, mask AP50",
    "segm.star.AP50": "stars, mask AP50",
    "panoptic.galaxy.PQ": "galaxy PQ",
    "panoptic.star.PQ": "star PQ",
}

# (setting, system, variant): {paths: values}; "raw" of Mask R-CNN was the image without any
# scaling.
_TABLES = {
    ("A", "photutils_2022", "1"): {PIXELS: (0.2509, 0.9942, 0.3971, 0.9612)},
    ("A", "photutils_2022", "2"): {PIXELS: (0.1125, 0.1235, 0.1980, 0.7463)},
    ("A", "photutils_2022", "3"): {PIXELS: (0.0795, 0.0918, 0.1415, 0.4669)},
    ("A", "photutils_2022", "4"): {PIXELS: (0.1063, 0.1181, 0.1783, 0.5320)},
    ("A", "kmeans", "1"): {PIXELS: (0.0315, 0.2711, 0.0594, 0.2554)},
    ("A", "kmeans", "2"): {PIXELS: (0.1526, 0.5696, 0.2624, 0.9534)},
    ("A", "kmeans", "3"): {PIXELS: (0.1531, 0.6202, 0.2633, 0.9542)},
    ("A", "kmeans", "4"): {PIXELS: (0.2874, 0.7008, 0.4254, 0.9452)},
    ("A", "random_forest_2022", "4"): {FOREST: (0.1259, 0.4434, 0.76, 0.1873)},
    ("A", "unet", "1"): {PIXELS: (0.5855, 0.6587, 0.5686, 0.9763)},
    ("A", "unet", "2"): {PIXELS: (0.6164, 0.6931, 0.6120, 0.9781)},
    ("A", "unet", "3"): {PIXELS: (0.6623, 0.7486, 0.5984, 0.9806)},
    ("A", "unet", "4"): {PIXELS: (0.7076, 0.7751, 0.7493, 0.9838)},
    ("A", "mask_rcnn", "1"): {
        BBOX: (0.112, 0.422, 0.025, 0.559),
        SEGM: (0.214, 0.596, 0.074, 0.552),
    },
    ("A", "mask_rcnn", "2"): {
        BBOX: (0.107, 0.356, 0.041, 0.510),
        SEGM: (0.193, 0.532, 0.096, 0.533),
    },
    ("A", "mask_rcnn", "3"): {
        BBOX: (0.245, 0.718, 0.086, 0.581),
        SEGM: (0.389, 0.780, 0.338, 0.629),
    },
    ("A", "mask_rcnn", "raw"): {
        BBOX: (0.005, 0.016, 0.002, 0.036),
        SEGM: (0.007, 0.023, 0.003, 0.023),
    },
    # "mAP .9" without its IoU: compared with our AP50 and, in case it is the mean over IoUs, our AP
    ("B", "mask_rcnn", "raw"): {
        (*DETECTION, "segm.all.AP50", "segm.all.AP"): (0.75, 0.625, 0.682, 0.9, 0.9)
    },
    ("C", "mask_rcnn", "lupton"): {("segm.galaxy.AP50", "segm.star.AP50"): (0.816, 0.708)},
}


@dataclass(frozen=True)
class Cell:
    """One number to compare with."""

    setting: str
    system: str
    variant: str
    path: str
    value: float

    @property
    def name(self):
        return NAMES[self.path]


REPORTED = [
    Cell(*where, path, value)
    for where, tables in _TABLES.items()
    for paths, values in tables.items()
    for path, value in zip(paths, values, strict=True)
]


def reported_tables():
    """The places that report the same scores.

    Dict of paths to lists of (setting, system, variant).
    """
    places = {}
    for place, tables in _TABLES.items():
        for paths in tables:
            places.setdefault(paths, []).append(place)
    return places


#: Goals for the full budget. An empty variant means that any variant may reach the goal.
#: IoU and Dice are pooled over all pixels.
_UNET_GOALS = {"pixels.pooled.iou": 0.88, "pixels.pooled.dice": 0.935, "sources.f1": 0.91}
GOALS = [
    *(
        Cell("A", *where, path, value)
        for where in (("unet", "raw"), ("unet", "snr"), ("unet_long", "snr"))
        for path, value in _UNET_GOALS.items()
    ),
    Cell("A", "mask_rcnn", "", "segm.all.AP", 0.45),
    Cell("A", "mask_rcnn", "", "segm.all.AP50", 0.85),
    Cell("A", "mask2former", "", "panoptic.galaxy.PQ", 0.50),
    Cell("A", "random_forest", "", "pixels.mean.dice", 0.85),
    Cell("B", "mask_rcnn", "", "sources.f1", 0.96),
    Cell("B", "mask_rcnn", "", "segm.all.AP50", 0.985),
    Cell("B", "mask_rcnn", "", "segm.all.AP", 0.70),
    Cell("C", "mask_rcnn", "", "segm.galaxy.AP50", 0.85),
    Cell("C", "mask_rcnn", "", "segm.star.AP50", 0.80),
    *(
        Cell("C8", system, "", path, value)
        for system in ("mask_rcnn_blends", "unet_sky")
        for path, value in (("segm.galaxy.AP50", 0.85), ("segm.star.AP50", 0.80))
    ),
]

#: Why a score is behind the reported one; the page shows the reason beside the gap.
REASONS = {
    ("mask_rcnn", "segm.all.AP"): (
        "[Kamath2019]_ reports a mean AP without its IoU; if that is AP50, ours is ahead"
    ),
    ("photutils_2022", "pixels.mean.recall"): (
        "the reported recall of .99 at an IoU of .25 means that four times too many pixels are "
        "marked"
    ),
    ("kmeans", "pixels.mean.accuracy"): (
        "k-means ignores the noise, so that a large share of the sky joins the cluster of the "
        "galaxies"
    ),
    (
        "kmeans",
        "pixels.mean.iou",
    ): "the two clusters split the noise of our fields instead of separating galaxies from sky",
    ("unet", "pixels.mean.iou"): (
        "trained for four epochs; each image is divided by its own brightest pixel, so that the "
        "net "
        "must first learn how large the noise is"
    ),
    (
        "kmeans",
        "pixels.mean.dice",
    ): "the two clusters split the noise of our fields instead of separating galaxies from sky",
}
