"""Images that other simulators drew, with their truth, in two parts.

A program that is fitted to the one part is scored on the other.

Both data sets call a pixel a source's where its noise-free light in r exceeds one local RMS, as
`make_field` does.
"""

import numpy as np

from galaxysegment.base._segmenter import clear_no_data
from galaxysegment.io import Field, read_field
from galaxysegment.structures import Instances

from .fields import Patches, cut_instances
from .settings import Setting

GALSIM = Setting(
    "galsim",
    "Galaxies and stars in g, r, z",
    "One field of 1024² pixels of 0.2″, PSF 0.8″: HST galaxies and stars drawn by GalSim, with "
    "cosmic rays, "
    "saturation, gaps and steps in depth. Four patches of 512², each half scored with what was "
    "fitted to the other.",
    None,
    {},
    n_bands=3,
    classes=True,
)
BTK = Setting(
    "btk",
    "Blends of two to six galaxies",
    "60 blends in the r band, 120² pixels of 0.2″, as LSST sees them after ten years, drawn by the "
    "BlendingToolKit, half of them parametric galaxies (CatSim), half HST galaxies (COSMOS): each "
    "half scored with what was fitted to the other.",
    None,
    {},
    rms_band=None,
)
BANDS = "grz"
#: Noise of a pixel of empty sky of `make_blends`, electrons.
NOISE_OF_BLENDS = np.sqrt(500.0 + 9.0**2)


def galsim_parts(folder):
    """Left and right half of the field in units of the noise, with the RMS map as last band."""
    field = _galsim_field(folder / "sim_galsim_fields")
    quarters = cut_instances(field, 512)
    return [quarters[side::2] for side in (0, 1)]


def _galsim_field(folder):
    files = [folder / f"dev_{band}.fits.fz" for band in BANDS]
    raw = read_field(files, labels=folder / "dev_truth.fits.fz")
    image, rms = np.asarray(raw.image), np.asarray(raw.rms)
    rms = np.where(rms > 0, rms, np.nan)
    noise = np.nanmedian(rms, axis=(1, 2))[:, None, None]
    no_data = ~(np.isfinite(image) & np.isfinite(rms)).all(axis=0)
    catalog = raw.catalog
    truth = _galsim_instances(
        folder / "dev_instances.npz", 1 + np.asarray(catalog["is_star"]), raw.shape
    )
    kept = [index for index, item in enumerate(_pixels(truth)) if not no_data[item].all()]
    catalog = catalog[kept]
    catalog["snr"], catalog["mag"] = catalog["snr_r"], catalog["mag_r"]
    truth = clear_no_data(truth.select(kept), no_data)
    return Field(image / noise, rms=rms / noise, instances=truth, catalog=catalog)


def _galsim_instances(path, classes, shape):
    with np.load(path) as stored:
        parts = np.split(stored["yx"].astype(np.int64), stored["offsets"][1:-1], axis=1)
    boxes = np.array([(*part.min(axis=1), *(part.max(axis=1) + 1)) for part in parts])
    crops = []
    for (y, x), (y0, x0, y1, x1) in zip(parts, boxes, strict=True):
        crop = np.zeros((y1 - y0, x1 - x0), dtype=bool)
        crop[y - y0, x - x0] = True
        crops.append(crop)
    return Instances(shape, boxes, crops, classes=classes)


def _pixels(sources):
    """Index arrays of the pixels of each source."""
    for (y0, x0, _, _), crop in zip(sources.boxes.tolist(), sources.crops, strict=True):
        y, x = np.nonzero(crop)
        yield y + y0, x + x0


def btk_parts(folder):
    """Blends of parametric galaxies and of HST galaxies, as bright beside their noise as
    `make_blends` has them.
    """
    return [
        _btk_part(folder / "sim_btk_blends" / f"{name}_dev.npz") for name in ("catsim", "cosmos")
    ]


def _btk_part(path):
    with np.load(path) as stored:
        band = stored["bands"].tolist().index("r")
        X = stored["images"][:, band] * np.float32(NOISE_OF_BLENDS / stored["sky_sigma"][band])
        masks = np.unpackbits(stored["instances"], axis=-1)[..., : X.shape[-1]].astype(bool)
        catalog = stored["catalog"]
    truth, snr = [], []
    for index in range(len(X)):
        rows = catalog[catalog["blend"] == index]
        each = masks[index, : len(rows)]
        seen = each.any(axis=(1, 2))  # some galaxies are too faint for any pixel
        truth.append(Instances.from_masks(each[seen]))
        snr.append(rows["snr_r"][seen].astype(float))
    return Patches(
        X, truth, truth, truth, snr, [np.full(len(snr_values), np.nan) for snr_values in snr]
    )
