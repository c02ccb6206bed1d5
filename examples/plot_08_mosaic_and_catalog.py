"""
8. A mosaic, tile by tile, and its catalog on the sky
=====================================================

Simulate a field into a file, segment it in tiles, and measure its sources: positions on the sky,
magnitudes and shapes.
"""

# %%
# `write_field` draws a field of any size block by block into a FITS file: image, RMS map, truth and
# catalog. This field is small; ``(25000, 25000)`` works the same way and takes no more memory.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Ellipse

from galaxysegment import PhotutilsSegmenter
from galaxysegment.catalog import source_catalog, write_catalog, write_regions
from galaxysegment.datasets import write_field
from galaxysegment.io import read_field, read_label_map
from galaxysegment.metrics import detection_scores
from galaxysegment.mosaic import segment_mosaic
from galaxysegment.preprocessing import NoiseNormalizer

folder = tempfile.TemporaryDirectory()
path = write_field(Path(folder.name) / "field.fits", (600, 800), random_state=5, progress=False)
field = read_field(path)
print(field)

# %%
# Each tile reads its own pixels and a margin. The background is estimated once, on a mesh over the
# whole mosaic. If a blend crosses the edge of a tile, it is split again as a whole. So the sources
# equal those of the whole image. ``n_jobs=2`` uses two threads, or two processes for a net;
# ``joblib.parallel_config("dask")`` around the call uses a cluster.

segmenter = PhotutilsSegmenter(deblend=True, rms_band=-1)
output = segment_mosaic(
    segmenter,
    path,
    rms=True,
    output=Path(folder.name) / "labels.fits",
    tile_size=400,
    progress=False,
)
labels = read_label_map(output)
whole = segmenter.predict(field)
same = detection_scores(whole, labels, iou=1)
print(
    f"{same.n_pred} sources in tiles, {same.n_true} in the whole image, {same.n_matched} of them "
    "the same to the pixel"
)

# %%
# Measure the sources. Positions on the sky come from the WCS of the image, errors from the RMS map.
# Write the table to FITS, ECSV or Parquet, and ellipses to regions for DS9.

catalog = source_catalog(
    output, path, rms=True, background="mesh", zero_point=field.header["MAGZP_R"]
)
write_catalog(Path(folder.name) / "sources.ecsv", catalog)
write_regions(Path(folder.name) / "sources.reg", catalog)
rows = catalog["label", "ra", "dec", "area", "magnitude", "magnitude_error", "blended"][:5]
rows.round(4)
print(rows)

# %%
# The figure shows the catalog on the sky: an ellipse of three standard deviations for each source,
# coloured by magnitude, and the borders of the tiles. No source is cut at a border.

figure = plt.figure(figsize=(9, 6.4), layout="constrained")
axis = figure.add_subplot(projection=field.wcs)
shown = NoiseNormalizer(stretch="asinh").fit_transform(field.image)[0]
axis.imshow(shown, cmap="gray", origin="lower", vmin=0, vmax=4)
colours = plt.get_cmap("cool")
scale = plt.Normalize(*np.nanpercentile(catalog["magnitude"].value, [2, 98]))
for row in catalog:
    size = 6 * row["semi_major"].value, 6 * row["semi_minor"].value
    colour = colours(scale(row["magnitude"].value))
    axis.add_patch(
        Ellipse((row["x"], row["y"]), *size, angle=row["angle"].value, fill=False, color=colour)
    )
axis.vlines(399.5, -0.5, 599.5, colors="white", linestyles=":", lw=0.8)
axis.hlines(399.5, -0.5, 799.5, colors="white", linestyles=":", lw=0.8)
axis.set(xlabel="right ascension", ylabel="declination", xlim=(-0.5, 799.5), ylim=(-0.5, 599.5))
bar = figure.colorbar(plt.cm.ScalarMappable(scale, colours), ax=axis, label="magnitude", shrink=0.8)
bar.ax.invert_yaxis()
plt.show()
folder.cleanup()
