"""Reading a FITS file in every way there is, and what may come of it."""

import warnings

import numpy as np
from astropy.io import fits

from ._outcomes import Defect, attempt, run_command


def check(case, thorough=False):
    """Read a file in every way; return "error" where no pixel came out of it."""
    from galaxysegment.io import (
        image_shape,
        read_field,
        read_header,
        read_image,
        read_label_map,
        read_rms,
    )

    path, names = case.path, (case.path.name,)
    error, image = attempt(read_image, path, names=names)
    shape_error, shape = attempt(image_shape, path, names=names)
    for reader in (read_header, read_rms, read_label_map):
        attempt(reader, path, names=names)
    attempt(read_rms, path, kind="auto", names=names)
    _check_image(case, error, image, shape_error, shape)
    _check_section(path, image, names)
    field_error, field = attempt(read_field, path, names=names)
    if field_error is None:
        for name in ("image", "rms", "labels", "wcs", "instances", "classes", "catalog"):
            attempt(getattr, field, name, names=names)
    if thorough:
        _check_work(case)
    if (path.parent / "executed").exists():
        raise Defect("code of the file was executed")
    return "read" if error is None else "error"


def _check_image(case, error, image, shape_error, shape):
    if case.must_fail and error is None:
        raise Defect(f"read an image of shape {image.shape} out of no image")
    if case.same_as is not None and (error is not None or not np.array_equal(image, case.same_as)):
        raise Defect(f"did not read the pixels that are there: {error}")
    if error is not None:
        return
    if shape_error is not None or shape != image.shape:
        raise Defect(f"image_shape says {shape_error or shape}, read_image {image.shape}")
    if image.dtype.kind != "f" or not image.dtype.isnative or image.ndim not in (2, 3):
        raise Defect(f"read an image of dtype {image.dtype} and shape {image.shape}")
    if case.oracle:
        _compare_with_astropy(case.path, image)


def _check_section(path, image, names):
    """Check that a section is what the whole image has there, if both can be read."""
    from galaxysegment.io import read_image

    section = np.s_[3:9, 2:5]
    error, part = attempt(read_image, path, section=section, names=(*names, "section"))
    if error is not None or image is None:
        return
    if not np.array_equal(part, image[..., *section], equal_nan=True):
        raise Defect("a section has other pixels than the whole image")


def _compare_with_astropy(path, image):
    """Check that the pixels are those that astropy reads, if it does so without a complaint.

    The image was read, so that its tiles, if it has any, were checked: astropy's decoders survive
    them.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with path.open("rb") as file, fits.open(file, memmap=False) as opened:
                hdu = next(
                    candidate
                    for candidate in opened
                    if candidate.is_image and candidate.data is not None
                )
                expected = np.squeeze(hdu.data)
    except Exception:
        return
    if (
        type(hdu) not in (fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU)
        or expected.shape != np.squeeze(image).shape
    ):
        return
    with np.errstate(all="ignore"):
        if not np.allclose(np.squeeze(image), expected.astype(float), rtol=1e-5, equal_nan=True):
            raise Defect("the pixels are not those that astropy reads")


def _check_work(case):
    """Segment the file and score it, from the command line and as a mosaic."""
    from galaxysegment import SEPSegmenter
    from galaxysegment.mosaic import segment_mosaic

    output = case.path.parent / "out.fits"
    image = case.path.parent / f"./{case.path.name}"
    status = run_command(
        ["segment", "--output", output, "--overwrite", "--method", "sep", "--", image]
    )
    if (status == 0) != output.exists():
        raise Defect(f"the command ends with {status}, output exists: {output.exists()}")
    output.unlink(missing_ok=True)
    run_command(["evaluate", "--", image, image])
    attempt(
        segment_mosaic,
        SEPSegmenter(),
        case.path,
        progress=False,
        allowed=(ValueError, OSError, RuntimeError),
    )
