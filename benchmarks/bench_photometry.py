"""Measure Kron photometry on simulated fields beside photutils, sep and SExtractor.

    python benchmarks/bench_photometry.py accuracy --data FOLDER_OF_SIM_GALSIM_FIELDS
    python benchmarks/bench_photometry.py speed --tiles 7
    python benchmarks/bench_photometry.py mosaic --side 25000 --folder /tmp
    python benchmarks/bench_photometry.py stars --data FOLDER_OF_SIM_GALSIM_FIELDS

`accuracy` prints bias and scatter of Kron magnitudes of isolated galaxies by signal to noise, and
of ``flux_total``: on simulated fields as a space telescope and as the ground sees them, and on the
fields in a folder. All programs detect at the same thresholds; SExtractor's own catalog is taken as
it is. `speed` measures 50,000 sources with photutils and here. `mosaic` writes a mosaic to a file
and measures it in a process of its own, whose time and largest memory it prints. `stars` compares
``star_probability`` with SExtractor's CLASS_STAR, on the fields in a folder and on simulated
fields, by magnitude.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

N_SIGMA, N_PIXELS, BOX, CONTRAST, FWHM = 1.5, 5, 64, 0.005, 3
KRON = 2.5, 1.4
ISOLATED = 30  # pixels to the next source of the truth
ISOLATED_REAL = 25  # the same in the crowded fields of real galaxies
GROUND = {"pixel_scale": 0.2, "psf_fwhm": 0.75, "density": 25.0}
BINS = (10, 20, 40, 80, 200, 1000)
_MATCH = 2.0  # pixels
SEXTRACTOR_OUTPUT = ("NUMBER", "X_IMAGE", "Y_IMAGE", "FLUX_AUTO", "FLUXERR_AUTO", "FLUX_RADIUS")


def isolated_galaxies(field):
    """Return the rows of the truth without a neighbour, and away from the edge."""
    truth = field.catalog
    y, x = np.asarray(truth["y"]), np.asarray(truth["x"])
    distance = np.hypot(y[:, None] - y, x[:, None] - x)
    np.fill_diagonal(distance, np.inf)
    height, width = field.shape
    inside = (np.minimum(y, x) > ISOLATED) & (y < height - ISOLATED) & (x < width - ISOLATED)
    return truth[(distance.min(axis=1) > ISOLATED) & inside & (np.asarray(truth["class"]) == 1)]


def match(truth, y, x):
    """Return the nearest detection of each source of the truth, or -1."""
    from scipy.spatial import cKDTree

    places = np.column_stack([truth["y"], truth["x"]])
    distance, nearest = cKDTree(np.column_stack([y, x])).query(places)
    return np.where(distance < _MATCH, nearest, -1)


def detect(field):
    """Detect as SExtractor does; return labels and the image without its background."""
    import sep

    from galaxysegment import SEPSegmenter

    segmenter = SEPSegmenter(
        n_sigma=N_SIGMA, n_pixels=N_PIXELS, box_size=BOX, contrast=CONTRAST, fwhm=FWHM,
        rms_band=-1, deblend=True,
    )  # fmt: skip
    image = np.ascontiguousarray(field.image[0], dtype=np.float32)
    return segmenter.predict(field), image - sep.Background(image, bw=BOX, bh=BOX).back()


def measure_here(field, labels, image):
    from galaxysegment.catalog import source_catalog

    catalog = source_catalog(labels, image, rms=field.rms, kron=KRON)
    return catalog["y"], catalog["x"], catalog["flux_kron"]


def measure_total(field, labels, image):
    from galaxysegment.catalog import source_catalog

    catalog = source_catalog(labels, image, rms=field.rms, kron=KRON, total=True)
    return catalog["y"], catalog["x"], catalog["flux_total"]


def measure_photutils(field, labels, image):
    from photutils.segmentation import SegmentationImage, SourceCatalog

    catalog = SourceCatalog(image, SegmentationImage(labels), error=field.rms, kron_params=KRON)
    return catalog.y_centroid, catalog.x_centroid, catalog.kron_flux


def measure_sep(field, _labels, image):
    """Measure as the tutorial of sep does."""
    import sep

    image = np.ascontiguousarray(image)
    sources, segmentation = sep.extract(
        image, N_SIGMA, err=field.rms, minarea=N_PIXELS, segmentation_map=True
    )
    x, y, a, b, theta = (sources[name] for name in ("x", "y", "a", "b", "theta"))
    ids = {"seg_id": np.arange(1, len(x) + 1), "segmap": segmentation}
    radius, _ = sep.kron_radius(image, x, y, a, b, theta, 6.0, **ids)
    size = np.maximum(KRON[0] * radius, KRON[0] * KRON[1])
    flux, _, _ = sep.sum_ellipse(image, x, y, a, b, theta, size, subpix=0, **ids)
    return y, x, flux


def sextractor_catalog(field, folder, output=SEXTRACTOR_OUTPUT, **more):
    """Run SExtractor on one band with its RMS map and return its catalog."""
    from astropy.io import fits
    from leaderboard.peers import find_sextractor

    fits.writeto(folder / "image.fits", field.image[0].astype(np.float32), overwrite=True)
    fits.writeto(folder / "rms.fits", field.rms.astype(np.float32), overwrite=True)
    (folder / "columns.param").write_text("\n".join(output) + "\n")
    options = {
        "CATALOG_NAME": "out.cat", "CATALOG_TYPE": "FITS_1.0", "PARAMETERS_NAME": "columns.param",
        "WEIGHT_TYPE": "MAP_RMS", "WEIGHT_IMAGE": "rms.fits", "RESCALE_WEIGHTS": "N",
        "FILTER_NAME": "/usr/share/source-extractor/gauss_3.0_5x5.conv", "BACK_SIZE": BOX,
        "STARNNW_NAME": "/usr/share/source-extractor/default.nnw",
        "DETECT_THRESH": N_SIGMA, "ANALYSIS_THRESH": N_SIGMA, "DETECT_MINAREA": N_PIXELS,
        "DEBLEND_MINCONT": CONTRAST, "PHOT_AUTOPARAMS": f"{KRON[0]},{KRON[0] * KRON[1]}",
    } | more  # fmt: skip
    words = [word for name, value in options.items() for word in (f"-{name}", str(value))]
    (folder / "empty.sex").write_text("")
    command = [find_sextractor(), "image.fits", "-c", "empty.sex", *words]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return fits.getdata(folder / "out.cat", 1)


def measure_sextractor(field, _labels, _image):
    with tempfile.TemporaryDirectory() as folder:
        table = sextractor_catalog(field, Path(folder))
    return table["Y_IMAGE"] - 1, table["X_IMAGE"] - 1, table["FLUX_AUTO"].astype(float)


PROGRAMS = {
    "galaxysegment": measure_here,
    "flux_total": measure_total,
    "photutils": measure_photutils,
    "sep": measure_sep,
    "SExtractor": measure_sextractor,
}


def accuracy(arguments):
    """Print bias and scatter of magnitudes by S/N, of galaxies that all programs found."""
    from galaxysegment.datasets import make_field

    fields = (
        make_field((1024, 1024), random_state=seed, sky_gradient=0.0)
        for seed in range(arguments.n_fields)
    )
    print(f"{arguments.n_fields} fields of make_field. Magnitude error: median, scatter (1.48 MAD)")
    print_accuracy((field, isolated_galaxies(field)) for field in fields)
    ground = (
        make_field((1024, 1024), random_state=100 + seed, sky_gradient=0.0, **GROUND)
        for seed in range(arguments.n_fields)
    )
    print(f"{arguments.n_fields} fields of make_field, seen from the ground: {GROUND}")
    print_accuracy((field, isolated_galaxies(field)) for field in ground)
    if arguments.data:
        print(f"{arguments.data.name}: bands g, r and z; S/N: true flux over error of Kron flux")
        print_accuracy(isolated_real(*parts) for parts in real_fields(arguments.data))


def isolated_real(_band, field, truth, is_star, magnitude, *_):
    """Return a simulated field of real galaxies, and its isolated galaxies."""
    from galaxysegment.io import Field

    image, rms = np.array(field.image, np.float32), np.array(field.rms, np.float32)
    bad = ~np.isfinite(image[0]) | ~(rms > 0)
    filled = Field(np.where(bad, np.nanmedian(image), image), rms=np.where(bad, 1e15, rms))
    y, x = truth["y"], truth["x"]
    distance = np.hypot(y[:, None] - y, x[:, None] - x)
    np.fill_diagonal(distance, np.inf)
    inside = (np.minimum(y, x) > ISOLATED) & (np.maximum(y, x) < len(rms) - ISOLATED)
    use = (distance.min(axis=1) > ISOLATED_REAL) & inside & ~is_star
    flux = 10 ** (-0.4 * (magnitude[use] - field.header["MAGZERO"]))
    return filled, {"y": y[use], "x": x[use], "flux": flux}


def print_accuracy(fields):
    """Print a table of all programs; a truth without S/N gets that of the Kron fluxes."""
    errors, snr = {name: [] for name in PROGRAMS}, []
    for field, truth in fields:
        labels, image = detect(field)
        snr.append(true_snr(field, truth, labels, image))
        for name, measure in PROGRAMS.items():
            y, x, flux = measure(field, labels, image)
            matched = match(truth, np.asarray(y), np.asarray(x))
            ratio = np.where(matched >= 0, np.asarray(flux)[matched], np.nan) / truth["flux"]
            with np.errstate(invalid="ignore", divide="ignore"):
                errors[name].append(-2.5 * np.log10(np.asarray(ratio)))
    snr = np.concatenate(snr)
    errors = {name: np.concatenate(parts) for name, parts in errors.items()}
    everywhere = np.isfinite(list(errors.values())).all(axis=0)
    print(f"{'S/N':>10}{'galaxies':>10}" + "".join(f"{name:>20}" for name in errors))
    for low, high in [*pairwise(BINS), (BINS[0], np.inf)]:
        inside = everywhere & (snr >= low) & (snr < high)
        if not inside.any():
            continue
        print(f"{low:>5}-{high:<5}{inside.sum():>9}", end="")
        for error in errors.values():
            bias = np.median(error[inside])
            scatter = 1.4826 * np.median(np.abs(error[inside] - bias))
            print(f"{bias:>+12.3f}{scatter:>8.3f}", end="")
        print()


def true_snr(field, truth, labels, image):
    """Return the signal to noise of the truth; without one, by the errors of the Kron fluxes."""
    from galaxysegment.catalog import source_catalog

    if "snr" in getattr(truth, "colnames", ()):
        return np.asarray(truth["snr"])
    catalog = source_catalog(labels, image, rms=field.rms, kron=KRON)
    matched = match(truth, np.asarray(catalog["y"]), np.asarray(catalog["x"]))
    error = np.where(matched >= 0, np.asarray(catalog["flux_kron_error"])[matched], np.nan)
    return truth["flux"] / error


def tiled(field, n):
    """Return image, RMS map and labels of a field repeated n times along each axis."""
    labels = np.tile(field.labels, (n, n))
    shift = np.arange(n * n).reshape(n, n) * (field.labels.max() + 1)
    height, width = field.shape
    shift = np.repeat(np.repeat(shift, height, axis=0), width, axis=1)
    labels = np.where(labels > 0, labels + shift, 0).astype(np.int32)
    return np.tile(field.image[0] - 500, (n, n)), np.tile(field.rms, (n, n)), labels


def speed(arguments):
    """Compare processor time on many sources with photutils."""
    from photutils.segmentation import SegmentationImage, SourceCatalog

    from galaxysegment.catalog import source_catalog
    from galaxysegment.datasets import make_field

    field = make_field((2048, 2048), random_state=0, sky_gradient=0.0)
    image, rms, labels = tiled(field, arguments.tiles)
    few = slice(0, 512)
    source_catalog(
        labels[few, few], image[few, few], kron=True, light_fractions=0.5, rms=rms[few, few]
    )

    def photutils_catalog(with_radius):
        catalog = SourceCatalog(image, SegmentationImage(labels), error=rms)
        columns = ["label", "x_centroid", "y_centroid", "area", "segment_flux", "segment_flux_err",
                   "semimajor_axis", "semiminor_axis", "orientation", "max_value", "kron_radius",
                   "kron_flux", "kron_flux_err"]  # fmt: skip
        if with_radius:
            catalog.flux_radius(0.5, name="half_light")
            columns.append("half_light")
        return catalog.to_table(columns=columns)

    for name, options in (("Kron", {}), ("Kron, half-light radius", {"light_fractions": 0.5})):
        here, n_sources = clock(source_catalog, labels, image, rms=rms, kron=True, **options)
        theirs, _ = clock(photutils_catalog, bool(options))
        print(
            f"{n_sources} sources, {name}: {here:.1f} s here, {theirs:.1f} s photutils, "
            f"ratio {theirs / here:.1f}"
        )


def clock(measure, *arguments, **options):
    """Return processor time and number of rows."""
    begin = time.process_time()
    table = measure(*arguments, **options)
    return time.process_time() - begin, len(table)


def write_mosaic(side, folder):
    """Write a mosaic of repeated fields; return its path."""
    from galaxysegment.datasets import make_field

    path = folder / f"photometry_{side}.fits"
    if path.exists():
        return path
    from astropy.io import fits

    size = 2500
    field = make_field((size, size), random_state=1, sky_gradient=0.0)
    n = -(-side // size)
    draft = path.with_suffix(".part")
    with draft.open("wb") as stream:
        stream.write(fits.PrimaryHDU().header.tostring().encode())
        for name, dtype in (("SCI", ">f4"), ("RMS", ">f4"), ("LABEL", ">i4")):
            bits = {">f4": -32, ">i4": 32}[dtype]
            header = fits.ImageHDU(np.zeros((1, 1), dtype=dtype[1:]), name=name).header
            header["BITPIX"], header["NAXIS1"], header["NAXIS2"] = bits, side, side
            stream.write(header.tostring().encode())
            for tile in range(n):
                rows = min(size, side - tile * size)
                for y in range(rows):
                    if name == "LABEL":
                        labels = field.labels[y]
                        numbers = (labels + (tile * n + k) * 5000 for k in range(n))
                        line = np.concatenate([np.where(labels > 0, part, 0) for part in numbers])
                    else:
                        part = field.image[0] - 500 if name == "SCI" else field.rms
                        line = np.tile(part[y], n)
                    stream.write(line[:side].astype(dtype).tobytes())
            stream.write(b"\0" * (-(side * side * 4) % 2880))
    draft.replace(path)
    return path


def mosaic(arguments):
    """Measure a mosaic in a process of its own."""
    path = write_mosaic(arguments.side, Path(arguments.folder))
    command = [sys.executable, __file__, "measure", str(path), "--n-jobs", str(arguments.n_jobs)]
    subprocess.run(command, check=True)


def measure(arguments):
    from galaxysegment.catalog import source_catalog

    options = {} if arguments.plain else {"kron": True}
    begin, processor = time.perf_counter(), time.process_time()
    catalog = source_catalog(
        *(arguments.path, arguments.path),
        **{"labels_hdu": "LABEL", "hdu": "SCI", "rms": arguments.path, "rms_hdu": "RMS"},
        **options,
        n_jobs=arguments.n_jobs,
    )
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{len(catalog)} sources: {time.perf_counter() - begin:.0f} s, "
        f"{time.process_time() - processor:.0f} s of processor time, {memory:.0f} MB, "
        f"load {os.getloadavg()[0]:.1f}"
    )


def real_fields(folder):
    """Yield name, field and truth (y, x, is_star, magnitude) of the bands of simulated fields."""
    from astropy.io import fits

    from galaxysegment.io import read_field

    truth = fits.getdata(folder / "dev_truth.fits.fz", "CATALOG")
    for band in "grz":
        path = folder / f"dev_{band}.fits.fz"
        hdus = {"hdu": "SCI", "rms_hdu": "RMS", "mask_hdu": "DQ"}
        field = read_field(path, rms=path, mask=path, **hdus)
        is_star, magnitude = truth["is_star"] == 1, truth[f"mag_{band}"]
        yield band, field, {"y": truth["y"], "x": truth["x"]}, is_star, magnitude, 0.8, 0.2


def simulated_fields(n_fields):
    from galaxysegment.datasets import make_field

    for seed in range(n_fields):
        field = make_field((1024, 1024), random_state=seed, sky_gradient=0.0, star_fraction=0.1)
        truth = field.catalog
        is_star = np.asarray(truth["class"]) == 2
        yield f"seed {seed}", field, truth, is_star, np.asarray(truth["mag"]), 0.17, 0.1


def star_scores(field, truth, seeing, pixel_scale):
    """Return probability and CLASS_STAR of each source of the truth; NaN if it was not found."""
    from galaxysegment import SEPSegmenter
    from galaxysegment.catalog import source_catalog
    from galaxysegment.io import Field

    options = {"n_sigma": N_SIGMA, "n_pixels": N_PIXELS, "box_size": BOX, "contrast": CONTRAST}
    labels = SEPSegmenter(rms_band=-1, deblend=True, **options).predict(field)
    catalog = source_catalog(labels, field, star_probability=True, background="mesh")
    here = match(truth, np.asarray(catalog["y"]), np.asarray(catalog["x"]))
    image, rms = np.array(field.image), np.array(field.rms)
    bad = ~np.isfinite(image[0]) | ~(rms > 0)
    filled = Field(np.where(bad, np.nanmedian(image), image), rms=np.where(bad, 1e30, rms))
    with tempfile.TemporaryDirectory() as folder:
        columns = ("X_IMAGE", "Y_IMAGE", "CLASS_STAR")
        more = {"SEEING_FWHM": seeing, "PIXEL_SCALE": pixel_scale}
        table = sextractor_catalog(filled, Path(folder), columns, **more)
    theirs = match(truth, table["Y_IMAGE"] - 1, table["X_IMAGE"] - 1)
    probability = np.where(here >= 0, np.asarray(catalog["star_probability"])[here], np.nan)
    return probability, np.where(theirs >= 0, table["CLASS_STAR"][theirs], np.nan)


def stars(arguments):
    """Print completeness and purity of stars, at .5, of the sources that both programs found."""
    groups = [("make_field", simulated_fields(arguments.n_fields))]
    if arguments.data:
        groups.append((arguments.data.name, real_fields(arguments.data)))
    for name, fields in groups:
        rows = []
        for _, field, truth, is_star, magnitude, *seeing in fields:
            rows.append(np.stack([is_star, magnitude, *star_scores(field, truth, *seeing)]))
        is_star, magnitude, *scores = np.concatenate(rows, axis=1)
        both = np.isfinite(scores).all(axis=0)
        print(
            f"{name}: completeness and purity of stars\n{'mag':>8}{'sources':>9}{'stars':>7}",
            end="",
        )
        print(f"{'star_probability':>20}{'CLASS_STAR':>14}")
        for low, high in [*pairwise((18, 21, 22, 23, 24, 25, 26)), (0, 30)]:
            inside = both & (magnitude >= low) & (magnitude < high)
            true = inside & (is_star == 1)
            print(f"{low:>3}-{high:<4}{inside.sum():>9}{true.sum():>7}", end="")
            for score, width in zip(scores, (12, 6), strict=True):
                called = inside & (score > 0.5)
                hits = (called & true).sum()
                print(f"{hits / max(true.sum(), 1):>{width}.2f}", end="")
                print(f"{hits / max(called.sum(), 1):>8.2f}", end="")
            print()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    accurate = commands.add_parser("accuracy")
    accurate.add_argument("--n-fields", type=int, default=8)
    accurate.add_argument("--data", type=Path, default=None)
    fast = commands.add_parser("speed")
    fast.add_argument("--tiles", type=int, default=7)
    large = commands.add_parser("mosaic")
    large.add_argument("--side", type=int, default=25000)
    large.add_argument("--folder", default=tempfile.gettempdir())
    large.add_argument("--n-jobs", type=int, default=2)
    point = commands.add_parser("stars")
    point.add_argument("--data", type=Path, default=None)
    point.add_argument("--n-fields", type=int, default=6)
    part = commands.add_parser("measure")
    part.add_argument("path")
    part.add_argument("--n-jobs", type=int, default=2)
    part.add_argument("--plain", action="store_true")
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    functions = {"accuracy": accuracy, "speed": speed, "mosaic": mosaic, "measure": measure}
    functions["stars"] = stars
    functions[arguments.command](arguments)


if __name__ == "__main__":
    main()
