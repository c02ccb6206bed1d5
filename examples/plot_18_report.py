"""
18. A page to look at
=====================

`galaxysegment.report.write_report` writes one HTML file about a segmentation: the image with the
outlines of the sources, a cutout and the catalog row of each, and histograms. This example writes
such a page and draws what is on it.
"""

# %%
# The page of a simulated field. Open it in a browser: the image zooms, a click on a source shows
# its cutout, and a click on a bar of a histogram selects sources.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from galaxysegment import PhotutilsSegmenter
from galaxysegment.catalog import cutouts, source_catalog
from galaxysegment.datasets import make_field
from galaxysegment.preprocessing import BackgroundSubtractor, LuptonRGB
from galaxysegment.report import write_report

field = make_field((320, 320), bands="grz", density=250, random_state=11)
image = BackgroundSubtractor().fit_transform(field.image[None])
labels = PhotutilsSegmenter(n_sigma=1.5, deblend=True).predict(image)[0]
zero_point = [field.header[f"MAGZP_{band}"] for band in "GRZ"]
with tempfile.TemporaryDirectory() as folder:
    page = write_report(
        Path(folder) / "report.html", field, labels, zero_point=zero_point, progress=False
    )
    print(f"{labels.max()} sources, {page.stat().st_size / 1e3:.0f} kB")

# %%
# What the page shows: the image in colour with outlines, the source that was clicked, and the
# histograms of magnitude and size. The command line does the same for images of any size:
# ``galaxysegment report image.fits labels.fits -o report.html``.

catalog = source_catalog(labels, image[0], zero_point=zero_point, bands="grz")
clicked = int(catalog["label"][np.argsort(catalog["area"])[-3]])
stamp = cutouts(field, labels, size=48)[clicked - 1]
colour = LuptonRGB(stretch=150, minimum=-40, order=(2, 1, 0)).fit_transform(image)[0]

figure, axes = plt.subplot_mosaic(
    [["image", "image", "cutout"], ["image", "image", "magnitude"], ["image", "image", "size"]],
    figsize=(10, 6.6),
    layout="constrained",
)
axes["image"].imshow(colour.transpose(1, 2, 0), origin="lower")
for label in catalog["label"]:
    axes["image"].contour(labels == label, [0.5], colors="cyan", linewidths=0.7)
row = catalog[clicked - 1]
axes["image"].plot(row["x"], row["y"], "o", ms=40, mfc="none", mec="orange", mew=2)
axes["image"].set(xticks=[], yticks=[])
light = stamp.image[1] - np.median(stamp.image[1])
axes["cutout"].imshow(np.arcsinh(light / 30), cmap="gray", origin="lower")
axes["cutout"].contour(stamp.mask, [0.5], colors="cyan", linewidths=1)
title = f"source {clicked}, r = {row['magnitude_r'].value:.2f}"
axes["cutout"].set(xticks=[], yticks=[], title=title)
axes["magnitude"].hist(catalog["magnitude_r"].value, bins=20, color="0.5")
axes["magnitude"].set(xlabel="r magnitude", ylabel="sources")
axes["size"].hist(np.log10(catalog["area"]), bins=20, color="0.5")
axes["size"].set(xlabel="log10 of the area in pixels", ylabel="sources")
plt.show()
