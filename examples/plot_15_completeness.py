"""
15. How faint do you see?
=========================

Galaxies of known magnitude are injected into an image and the image is segmented again. The
fraction that comes back is the completeness of *this* segmenter on *this* image. A lower threshold
goes deeper: by 1.5 mag from 3 to 1 standard deviations of the noise.
"""

import matplotlib.pyplot as plt
import numpy as np

from galaxysegment import PhotutilsSegmenter
from galaxysegment.completeness import injection_completeness
from galaxysegment.datasets import load_sample_field

field = load_sample_field()
fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for n_sigma in (3.0, 1.5, 1.0):
    curve = injection_completeness(
        PhotutilsSegmenter(n_sigma=n_sigma, n_pixels=10, deblend=True),
        np.asarray(field.image),
        zero_point=field.header["MAGZP_R"],
        pixel_scale=field.header["PIXSCALE"],
        psf_fwhm=field.header["PSFFWHM"],
        bins=np.arange(23, 28.01, 0.5),
        n_galaxies=500,
        spacing=64,
        random_state=0,
    )
    curve.plot(ax, label=f"{n_sigma:g} σ: 50 % at {curve.limit(0.5):.2f} mag")
ax.axhline(0.5, color="0.7", linewidth=0.8)
ax.set(xlabel="magnitude", ylabel="completeness")
ax.legend()
plt.show()
