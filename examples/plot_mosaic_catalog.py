"""
A mosaic, tile by tile, and its catalog
=======================================

Simulate a field straight into a file, segment it in tiles, measure its sources, and check that the tiles
leave no trace.
"""

# %%
# A field of any size is drawn block by block into a FITS file: image, RMS map, truth and catalog. This one is
# small; ``(25000, 25000)`` works the same way and takes no more memory.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from galaxysegment import PhotutilsSegmenter
from galaxysegment.catalog import source_catalog, write_catalog, write_regions
from galaxysegment.datasets import write_field
from galaxysegment.display import SegmentationDisplay
from galaxysegment.io import read_field, read_label_map
from galaxysegment.mosaic import segment_mosaic

folder = tempfile.TemporaryDirectory()
path = write_field(Path(folder.name) / "field.fits", (1000, 1200), random_state=5, progress=False)
field = read_field(path)
print(field)

# %%
# Each tile reads its own pixels and a margin. The background is estimated once, on a mesh over the whole mosaic,
# and blends that a tile sees cut are split again as a whole, so that the sources are those of the whole image.
# ``n_jobs=2`` would use two processes, and ``joblib.parallel_config("dask")`` around the call a cluster.

segmenter = PhotutilsSegmenter(deblend=True, rms_band=-1)
output = segment_mosaic(
    segmenter, path, rms=True, output=Path(folder.name) / "labels.fits", tile_size=512, progress=False
)
labels = read_label_map(output)
whole = segmenter.predict(np.concatenate([field.image, field.rms[None]])[None])[0]
print(f"{labels.max()} sources in tiles, {whole.max()} in the whole image")
print("pixels that differ:", np.count_nonzero((labels > 0) != (whole > 0)))

# %%
# Measure them. Positions on the sky come from the WCS of the image, errors from the RMS map.

catalog = source_catalog(output, path, rms=True, background="mesh", zero_point=field.header["MAGZP_R"])
catalog["label", "ra", "dec", "area", "magnitude", "magnitude_error", "semi_major_sky", "blended"][:5]

# %%
# The magnitudes against the truth, for the sources that lie on one source of the truth.

truth = field.catalog
owner = read_label_map(path, hdu="LABELS")[catalog["y_peak"], catalog["x_peak"]]
alone = (owner > 0) & ~catalog["blended"] & ~catalog["edge"]
true_magnitude = np.asarray(truth["mag"].value)[owner[alone] - 1]
found_magnitude = catalog["magnitude"].value[alone]

figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
axis.scatter(true_magnitude, found_magnitude - true_magnitude, s=6)
axis.axhline(0, color="gray", lw=1)
axis.set(xlabel="true magnitude", ylabel="measured - true", ylim=(-1, 2))

# %%
# Isophotal fluxes miss the light below the threshold, the more the fainter a source is. Tables go to FITS, ECSV or
# Parquet files, ellipses to regions that DS9 draws.

write_catalog(Path(folder.name) / "sources.ecsv", catalog)
print(write_regions(Path(folder.name) / "sources.reg", catalog).read_text()[:200])

# %%
# A corner of the field, with the border between two tiles at column 400.

corner = field.section(slice(100, 300), slice(300, 500))
SegmentationDisplay.from_predictions(corner.labels, labels[100:300, 300:500], image=corner.image)
plt.show()
folder.cleanup()
