"""How good the sources of a net could be if nothing but the splitting of its regions changed.

    python -m benchmarks.leaderboard limit nets/A.unet.snr.0.safetensors

The regions above a threshold of the probability are split by the truth: each pixel goes to the
nearest true source that touches its region. A map of centres and a watershed know less, so the F1
tells about how far they can lead with these regions.
"""

import numpy as np
from scipy import ndimage
from skimage.segmentation import expand_labels

from galaxysegment import Instances
from galaxysegment.persistence import load
from galaxysegment.structures import label_components, relabel, remove_small

from .scores import count_sources, detection
from .settings import SETTINGS

THRESHOLDS = 0.3, 0.4, 0.5


def print_limit(path, setting="A", seed=0, scale="full"):
    """Print the F1 of a net on the test patches, as it is and if the truth splits its regions."""
    test, net = SETTINGS[setting].test(seed, scale), load(path)
    n_pixels, predicted = SETTINGS[setting].n_pixels, net.predict(test.X, output="instances")
    print(f"as it is: F1 {source_f1(test.truth, predicted, n_pixels):.4f}")
    maps = net.predict_proba(test.X)
    for threshold in THRESHOLDS:
        split = [
            Instances.from_label_map(
                split_by_truth(proba > threshold, truth.to_label_map(), n_pixels)
            )
            for proba, truth in zip(maps, test.truth, strict=True)
        ]
        f1 = source_f1(test.truth, split, n_pixels)
        print(f"regions above {threshold}, split by the truth: F1 {f1:.4f}")


def split_by_truth(mask, truth, n_pixels):
    """Give each pixel of the regions of a mask to the nearest true source that touches its region.

    A region that no true source touches stays whole. Parts under `n_pixels` pixels vanish.

    Parameters
    ----------
    mask : ndarray of bool, shape (height, width)
    truth : ndarray of int, shape (height, width)
        True label map.
    n_pixels : int

    Returns
    -------
    ndarray of int32, shape (height, width)
    """
    regions, labels = label_components(mask), np.zeros(mask.shape, dtype=np.int32)
    for number, window in enumerate(ndimage.find_objects(regions), start=1):
        region = regions[window] == number
        seeds = np.where(region, truth[window], 0)
        parts = expand_labels(seeds, distance=sum(region.shape))  # 0 everywhere without a seed
        labels[window][region] = (labels.max() + 1 + parts)[region]
    return relabel(remove_small(labels, n_pixels))


def source_f1(truth, predicted, n_pixels):
    """F1 of sources; those of fewer pixels do not count."""
    counted, seen = count_sources(truth, predicted, n_pixels)
    wanted = [sources.select(keep) for sources, keep in zip(truth, counted, strict=True)]
    return detection(wanted, seen)["f1"]
