"""The numbers that the studies report whose settings these are, and the goals set here."""

from dataclasses import dataclass

PIXELS = ("pixels.mean.iou", "pixels.mean.recall", "pixels.mean.dice", "pixels.mean.accuracy")
FOREST = ("pixels.mean.precision", "pixels.mean.recall", "pixels.mean.accuracy", "pixels.mean.dice")
SEGM = tuple(f"segm.all.{name}" for name in ("AP", "AP50", "AP75", "AR"))
BBOX = tuple(f"bbox.all.{name}" for name in ("AP", "AP50", "AP75", "AR"))
DETECTION = ("sources.precision", "sources.recall", "sources.f1")

#: What the paths are called.
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
    "segm.galaxy.AP50": "galaxies, mask AP50",
    "segm.star.AP50": "stars, mask AP50",
    "panoptic.galaxy.PQ": "galaxy PQ",
}

# (setting, system, variant): {paths: values}; "raw" of Mask R-CNN was the image without any scaling.
_TABLES = {
    ("A", "photutils", "1"): {PIXELS: (0.2509, 0.9942, 0.3971, 0.9612)},
    ("A", "photutils", "2"): {PIXELS: (0.1125, 0.1235, 0.1980, 0.7463)},
    ("A", "photutils", "3"): {PIXELS: (0.0795, 0.0918, 0.1415, 0.4669)},
    ("A", "photutils", "4"): {PIXELS: (0.1063, 0.1181, 0.1783, 0.5320)},
    ("A", "kmeans", "1"): {PIXELS: (0.0315, 0.2711, 0.0594, 0.2554)},
    ("A", "kmeans", "2"): {PIXELS: (0.1526, 0.5696, 0.2624, 0.9534)},
    ("A", "kmeans", "3"): {PIXELS: (0.1531, 0.6202, 0.2633, 0.9542)},
    ("A", "kmeans", "4"): {PIXELS: (0.2874, 0.7008, 0.4254, 0.9452)},
    ("A", "random_forest", "4"): {FOREST: (0.1259, 0.4434, 0.76, 0.1873)},
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
    ("B", "mask_rcnn", "raw"): {(*DETECTION, "segm.all.AP50"): (0.75, 0.625, 0.682, 0.9)},
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
    """The places that report the same scores: dict of paths to lists of (setting, system, variant)."""
    found = {}
    for place, tables in _TABLES.items():
        for paths in tables:
            found.setdefault(paths, []).append(place)
    return found


#: What was aimed at for the full budget; where no variant is named, any may reach it.
#: IoU and Dice are those of all pixels together.
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
]

#: Why a cell is behind, where it is: shown beside the number by which it is.
REASONS = {
    ("photutils", "pixels.mean.recall"): (
        "the reported recall of .99 at an IoU of .25 comes of marking four times as many pixels as are galaxy"
    ),
    ("kmeans", "pixels.mean.accuracy"): (
        "the cluster that this data set's noise puts beside the galaxies is large: k-means knows nothing of noise"
    ),
    (
        "kmeans",
        "pixels.mean.iou",
    ): "two clusters split the noise of our fields, not galaxies from sky",
    ("unet", "pixels.mean.iou"): (
        "trained for four epochs; each image is scaled by its own brightest pixel, so that the net has to find out how "
        "large the noise is first"
    ),
    (
        "kmeans",
        "pixels.mean.dice",
    ): "two clusters split the noise of our fields, not galaxies from sky",
}
