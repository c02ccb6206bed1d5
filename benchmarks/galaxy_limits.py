"""What label maps of large galaxies can reach, if the truth helps.

Rows of `bench_one_galaxy` before those of programs:

- the true source that shines most at each pixel that photutils detects: no label map of these
  pixels can do better
- the same, if light of the galaxy under brighter companions counts, too
- the same, but detections that do not touch have labels of their own
- ``deblend="galaxy"``, if the truth says of each peak whose it is: the rest of the loss is due to
  sources that are no peaks, to the galaxy that is taken first, and to the outlines
"""

import numpy as np
from scipy import ndimage

from galaxysegment import PhotutilsSegmenter
from galaxysegment.detection import _galaxies

from .train_galaxy_trees import part_sources, smoothed_fields

KERNEL = 1.27  # pixels: sigma of the kernel of `PhotutilsSegmenter`


def limits(scenes, settings):
    """Name of each limit, its label maps, and whether light under companions counts."""
    detect = PhotutilsSegmenter(deblend=False, **settings)
    detections = [detect.predict([scene.image])[0] for scene in scenes]
    brightest, apart = [], []
    for scene, labels in zip(scenes, detections, strict=True):
        source = scene.light.argmax(axis=0) + 1
        brightest.append(np.where(labels > 0, source, 0))
        apart.append(np.where(labels > 0, labels * (len(scene.light) + 1) + source, 0))
    yield "brightest true source", brightest, False
    yield "... all light counts", brightest, True
    yield "... not across gaps", apart, False
    told = [told_peaks(*pair, detect.n_pixels) for pair in zip(scenes, detections, strict=True)]
    yield "galaxy, truth judges peaks", told, False


def told_peaks(scene, detected, n_pixels):
    """`deblend_galaxies` of large detections, but the truth says whose each peak is."""
    light, smooth = smoothed_fields(scene.light, scene.image, KERNEL)
    labels, n_labels = detected.copy(), int(detected.max())
    for label, window in enumerate(ndimage.find_objects(detected), 1):
        own = detected[window] == label
        is_large = own.sum() >= _galaxies.LARGE_AREA or max(own.shape) >= _galaxies.ACROSS
        if not is_large:
            continue

        def tell(peak, saddle_pixel, window=window):
            values = smooth[window].ravel()
            sources = part_sources(light[(slice(None), *window)], peak, saddle_pixel, values)
            return sources.astype(np.int64)

        parts = _galaxies.split_source(smooth[window], own, n_pixels, 8, tell)
        if parts is not None:
            labels[window][own] = parts[own] + n_labels
            n_labels += int(parts.max())
    return labels
