"""Mistakes that a type checker must find; each line says which. See ``tests/test_types.py``."""

# ruff: noqa: B018
import numpy as np

import galaxysegment
from galaxysegment import Instances, PhotutilsSegmenter
from galaxysegment.datasets import load_sample_field, make_blends
from galaxysegment.io import read_image
from galaxysegment.metrics import detection_scores, iou_score
from galaxysegment.mosaic import segment_mosaic

image = np.zeros((2, 40, 40))
segmenter = PhotutilsSegmenter(sigma=3)  # error: call-arg
PhotutilsSegmenter(n_sigma="high")  # error: arg-type
segmenter.predict(image, output="masks")  # error: call-overload
label: int = segmenter.predict(image)  # error: assignment
iou_score(image, image, average="median")  # error: call-overload
detection_scores(image, image, average=None).f1  # error: attr-defined
read_image(3)  # error: arg-type
load_sample_field().labels.max()  # error: union-attr
make_blends(10, seed=3)  # error: call-overload
segment_mosaic(segmenter, image, tiles=4)  # error: call-overload
Instances((4, 4), [], []).sources  # error: attr-defined
galaxysegment.NoSuchSegmenter  # error: attr-defined
