"""Separate simulated blends, beside sep's and photutils' Kron fluxes, in one run.

    python -m benchmarks.bench_separation                        # pairs and quads of make_blends
    python -m benchmarks.bench_separation --weights blends       # and a UNetSeparator
    python -m benchmarks.bench_separation pairs                  # or quads: one of them alone
    python -m benchmarks.bench_separation simulators --data FOLDER    # four other simulators
    python -m benchmarks.bench_separation bands --data FOLDER    # errors of each band
    python -m benchmarks.bench_separation bad-input              # what is refused, what is divided
    python -m benchmarks.bench_separation pictures --data FOLDER      # four blends of a real survey

With --data and no name, pairs, quads and simulators are run.

The images are ``make_blends(n, random_state=777)``: two or four overlapping galaxies in 120 × 120
pixels. Errors are ``|flux / true flux - 1|`` in percent over all true galaxies; a missed galaxy
counts 100. Times are processor time of one core.
"""

import argparse
import time
import warnings
from copy import copy
from pathlib import Path

import numpy as np
from astropy.table import Table

from galaxysegment import NoSourcesWarning, SEPSegmenter
from galaxysegment.datasets import make_blends
from galaxysegment.metrics import separation_scores
from galaxysegment.separation import SegmentThenSeparate, TemplateSeparator, UNetSeparator

_NOISE = 24.1  # electrons: sky and read-out of make_blends
_MATCH = 4.0  # pixels between a detection and a true centre


def detector():
    """Return sep's detection with a low contrast, the same for all rows with own detection."""
    return SEPSegmenter(rms_band=-1, n_sigma=1.5, n_pixels=10, box_size=50, contrast=1e-4)


def kron_of_sep(image, noise):
    """Positions and Kron fluxes of sep, neighbours masked."""
    import sep

    image = np.ascontiguousarray(image, dtype=np.float64)
    settings = {"err": noise, "minarea": 10, "deblend_cont": 1e-4, "segmentation_map": True}
    sources, labels = sep.extract(image, 1.5, **settings)
    numbers = np.arange(1, len(sources) + 1)
    shape = [sources[name] for name in ("x", "y", "a", "b", "theta")]
    own = {"seg_id": numbers, "segmap": labels}
    radius, _ = sep.kron_radius(image, *shape, 6.0, **own)
    radius = np.maximum(np.nan_to_num(radius, nan=3.5), 1.4)
    flux, _, _ = sep.sum_ellipse(image, *shape, 2.5 * radius, subpix=1, **own)
    return sources["x"], sources["y"], flux


def kron_of_photutils(image, noise):
    """Positions and Kron fluxes of photutils' SourceCatalog for the detection of the other rows."""
    from photutils.segmentation import SegmentationImage, SourceCatalog

    X = np.stack([image, np.full_like(image, noise)])[None]
    labels = detector().predict(X)[0]
    if not labels.any():
        return np.zeros(0), np.zeros(0), np.zeros(0)
    catalog = SourceCatalog(image.astype(np.float64), SegmentationImage(labels))
    return catalog.x_centroid, catalog.y_centroid, catalog.kron_flux


def matched_errors(x, y, flux, true_x, true_y, true_flux):
    """Errors of all true galaxies, each matched with the nearest unmatched detection."""
    distance = np.hypot(x[None] - true_x[:, None], y[None] - true_y[:, None])
    errors = np.ones(len(true_x))
    for _ in range(min(distance.shape)):
        source, detection = np.unravel_index(np.argmin(distance), distance.shape)
        if not distance[source, detection] <= _MATCH:
            break
        errors[source] = abs(flux[detection] / true_flux[source] - 1)
        distance[source], distance[:, detection] = np.inf, np.inf
    return errors


def show(name, errors, seconds, more=""):
    errors = np.nan_to_num(np.asarray(errors), nan=1.0)
    print(
        f"  {name:44s} {100 * errors.mean():6.1f} {100 * np.median(errors):6.1f}"
        f" {1000 * seconds / errors.size:8.1f}  {more}",
        flush=True,
    )


def timed(function, *arguments, **options):
    start = time.process_time()
    result = function(*arguments, **options)
    return result, time.process_time() - start


def run_blends(n, n_sources, separators):
    X, masks, lights, catalog = make_blends(
        n, n_sources=n_sources, return_isolated=True, return_catalog=True, random_state=777
    )
    x, y, flux = (np.asarray(catalog[name]).reshape(n, n_sources) for name in ("x", "y", "flux"))
    print(f"{n} blends of {n_sources}: mean and median error in %, ms a source")
    rms = np.full_like(X, _NOISE)
    places = [Table({"x": row_x, "y": row_y}) for row_x, row_y in zip(x, y, strict=True)]
    near = np.hypot(x[:, :, None] - x[:, None], y[:, :, None] - y[:, None])
    near[:, np.arange(n_sources), np.arange(n_sources)] = np.inf
    near = near.min(axis=2)
    for separator in separators:
        title = type(separator).__name__
        separator.separate(X[:1], places[:1], rms=rms[:1])  # compiles
        for name, sources in (("true centres", places), ("true masks", masks)):
            separated, seconds = timed(separator.separate, X, sources, rms=rms)
            errors = np.abs([result.fluxes for result in separated] / flux - 1)
            scores = separation_scores(list(lights), separated)
            at_4, at_0 = errors[(near >= 4) & (near < 8)].mean(), errors[near < 4].mean()
            more = f"4-8 px {100 * at_4:.1f}, 0-4 px {100 * at_0:.1f}, {describe(scores)}"
            show(f"{title}, {name}", errors, seconds, more)
        for find in (False, True):
            run_detection(clone_with(separator, find), X, rms, lights)
    for name, method in (("sep Kron", kron_of_sep), ("photutils Kron", kron_of_photutils)):
        results, seconds = timed(lambda method=method: [method(image, _NOISE) for image in X])
        errors = [
            matched_errors(*result, *truth)
            for result, *truth in zip(results, x, y, flux, strict=True)
        ]
        show(f"{name}, own detection", np.concatenate(errors), seconds)


def clone_with(separator, find_companions):
    """Return a separator with the same net that looks for companions or not."""
    return copy(separator).set_params(find_companions=find_companions)


def run_detection(separator, X, rms, lights):
    """Separate the sources that sep detects."""
    both = SegmentThenSeparate(detector(), separator, rms_band=-1)
    stack = np.stack([X, rms], axis=1)
    separated, seconds = timed(both.fit(stack[:1]).separate, stack)
    scores = separation_scores(list(lights), separated)
    name = "own detection" + (", find_companions" if separator.find_companions else "")
    print(
        f"  {type(separator).__name__ + ', ' + name:44s} {100 * scores['flux_error']:6.1f}"
        f" {100 * scores['median_flux_error']:6.1f}"
        f" {1000 * seconds / lights[:, :, 0, 0].size:8.1f}  "
        f"missed {scores['missed']:.3f}, spurious {scores['spurious']:.3f}, {describe(scores)}",
        flush=True,
    )


def describe(scores):
    return (
        f"bias {100 * scores['flux_bias']:.1f}, SSIM {scores['ssim']:.3f}, "
        f"|Δe| {scores['ellipticity_error']:.3f}"
    )


def run_toolkit(folder, separators):
    """Blends of two simulators that nothing was tuned on, all galaxies with S/N above 5 in r."""
    for path in sorted((folder / "sim_btk_blends").glob("*.npz")):
        data = np.load(path)
        noise = float(data["sky_sigma"][1])
        ours = {f"{type(separator).__name__}, true centres": separator for separator in separators}
        kron = "sep Kron, own detection"
        rows = {name: [] for name in [*ours, kron]}
        seconds = dict.fromkeys(rows, 0.0)
        for blend, bands in enumerate(data["images"]):
            image = bands[1]
            catalog = data["catalog"]
            catalog = catalog[(catalog["blend"] == blend) & (catalog["snr_r"] > 5)]
            if not len(catalog):
                continue
            x, y, flux = (catalog[name].astype(float) for name in ("x", "y", "flux_r"))
            rms = np.full((1, *image.shape), noise)
            places = Table({"x": x, "y": y})
            for name, separator in ours.items():
                (result,), spent = timed(separator.separate, image[None], [places], rms=rms)
                rows[name].append(np.abs(result.fluxes / flux - 1))
                seconds[name] += spent
            detections, spent = timed(kron_of_sep, image, noise)
            rows[kron].append(matched_errors(*detections, x, y, flux))
            seconds[kron] += spent
        print(f"{path.stem}: mean and median error in %, errors above 500 count 500")
        for name, errors in rows.items():
            show(name, np.minimum(np.concatenate(errors), 5), seconds[name])


def lsst_scene(folder):
    """The r band of a simulated LSST field of 901² pixels, with clumps of up to 40 galaxies."""
    from astropy.io import fits

    folder = folder / "lsst_deblender_sims"
    image = fits.getdata(folder / "test1_image_r.fits.fz").astype(float)
    catalog = Table.read(folder / "test1_catalog_true.fits")
    noise = 1.4826 * np.median(np.abs(image - np.median(image)))
    return image, noise, *(np.array(catalog[name], float) for name in ("x", "y", "flux_r"))


def scarlet_scene(folder):
    """The r band of the blend of seven sources that scarlet's tutorials use."""
    data = np.load(folder / "scarlet_sim_blends" / "psf_matched_sim.npz")
    catalog, image = data["catalog"], data["images"][2].astype(float)
    lights = catalog["intensity_r"].astype(float)
    noise = (image - lights.sum(axis=0)).std()
    return image, noise, catalog["x"], catalog["y"], lights.sum(axis=(1, 2))


def run_scene(name, scene, separators):
    """One image of another simulator; all true sources count."""
    image, noise, x, y, flux = scene
    print(f"{name}: {len(x)} sources, mean and median error in %, errors above 500 count 500")
    for separator in separators:
        arguments = [image], [Table({"x": x, "y": y})], [np.full(image.shape, noise)]
        (result,), seconds = timed(separator.separate, *arguments)
        label = f"{type(separator).__name__}, true centres"
        show(label, np.minimum(np.abs(result.fluxes / flux - 1), 5), seconds)
    detections, seconds = timed(kron_of_sep, image, noise)
    errors = matched_errors(*detections, x, y, flux)
    show("sep Kron, own detection", np.minimum(errors, 5), seconds)


def run_bands(n, separators):
    """Pairs in three bands, divided together and band by band."""
    X, _, lights, catalog = make_blends(
        n, bands="grz", return_isolated=True, return_catalog=True, random_state=777
    )
    x, y = (np.asarray(catalog[name]).reshape(n, 2) for name in ("x", "y"))
    places = [Table({"x": row_x, "y": row_y}) for row_x, row_y in zip(x, y, strict=True)]
    fluxes = lights.sum(axis=(-2, -1))
    print(f"{n} pairs in three bands: mean and median error in %, ms a source and band")
    show_bands("grz", X, places, [_NOISE] * 3, fluxes, separators)


def run_scarlet_bands(folder, separators):
    """The six bands of scarlet's blend of seven sources."""
    data = np.load(folder / "scarlet_sim_blends" / "psf_matched_sim.npz")
    catalog, images = data["catalog"], data["images"].astype(float)
    names = [name for name in catalog.dtype.names if name.startswith("intensity_")]
    lights = np.stack([catalog[name].astype(float) for name in names], axis=1)
    noises = (images - lights.sum(axis=0)).std(axis=(1, 2))
    places = [Table({"x": catalog["x"], "y": catalog["y"]})]
    letters = [name.removeprefix("intensity_") for name in names]
    print("scarlet_sim_blends, six bands: mean and median error in %, ms a source and band")
    show_bands(letters, images[None], places, noises, lights.sum(axis=(-2, -1))[None], separators)


def show_bands(names, X, places, noises, fluxes, separators):
    """Print the errors of each band; `fluxes` has the shape (n_images, n_sources, n_bands)."""
    rms = np.broadcast_to(np.reshape(noises, (-1, 1, 1)), X.shape).astype(X.dtype)
    for separator in separators:
        separator.separate([X[0, 0]], places[:1], rms=[rms[0, 0]])  # compiles
        together, seconds = timed(separator.separate, list(X), places, rms=list(rms))
        errors = np.abs([result.fluxes for result in together] / fluxes - 1)
        for band, name in enumerate(names):
            alone, spent = timed(
                separator.separate, list(X[:, band]), places, rms=list(rms[:, band])
            )
            own = np.abs([result.fluxes for result in alone] / fluxes[..., band] - 1)
            title = f"{type(separator).__name__}, band {name}"
            show(f"{title}, with the others", errors[..., band].ravel(), seconds / len(names))
            show(f"{title}, alone", own.ravel(), spent)


def run_bad_input():
    """Say of each kind of bad input what is refused, and what is divided without losing light."""
    rows, columns = np.indices((60, 70))
    image = 300 * np.exp(-np.hypot(rows - 30, columns - 30) / 3)
    image += 200 * np.exp(-np.hypot(rows - 32, columns - 42) / 3)
    image += np.random.default_rng(0).normal(size=image.shape)
    holes = np.where((np.abs(rows - 30) < 3) & (np.abs(columns - 33) < 2), np.nan, image)
    pair = Table({"x": [30.0, 42.0], "y": [30.0, 32.0]})
    ones, whole = np.ones_like(image), np.ones(image.shape, dtype=int)
    cases = {
        "position outside the image": (image, Table({"x": [30.0, 99.0], "y": [30.0, 5.0]}), ones),
        "two positions at one place": (image, Table({"x": [30.0, 30.2], "y": [30.0, 30.0]}), ones),
        "RMS map that is zero everywhere": (image, pair, 0 * ones),
        "no RMS map": (image, pair, None),
        "NaN inside a source": (holes, pair, ones),
        "source that covers the image": (image, whole, ones),
    }
    for name, (light, sources, rms) in cases.items():
        try:
            (separated,) = TemplateSeparator().separate(
                [light], [sources], rms=None if rms is None else [rms]
            )
        except ValueError as error:
            print(f"  {name}: refused: {error}")
            continue
        lost = np.nanmax(np.abs(separated.total() + separated.residual - light))
        fluxes = ", ".join(f"{flux:.0f}" for flux in separated.fluxes)
        print(f"  {name}: fluxes {fluxes}; parts and residual miss the image by {lost:.1g}")


_REAL = ("43158172147384804", "43158172147388153", "43158172147391068")


def real_blends(folder):
    """Yield name, bands, RMS maps and positions of four blends of Hyper Suprime-Cam."""
    folder = folder / "hsc_cosmos_blends"
    data = np.load(folder / "hsc_cosmos_35.npz")
    peaks = np.stack([data["catalog"]["x"], data["catalog"]["y"]], axis=1)
    yield "hsc_cosmos_35", data["images"], np.sqrt(data["variance"]), peaks
    with np.load(folder / "dev.npz") as data:
        for name in _REAL:
            weights = data[f"{name}_weights"]
            rms = 1 / np.sqrt(np.where(weights > 0, weights, np.inf))
            yield name, data[f"{name}_images"], rms, data[f"{name}_peaks"]


def draw_real_blends(folder, separators, output):
    """Draw real blends taken apart: image, the brightest parts, residual; a row a separator."""
    import matplotlib.pyplot as plt

    for name, image, rms, peaks in real_blends(folder):
        positions = Table(peaks, names=("x", "y"))
        noise = [np.median(band[band > 0]) for band in rms]

        def to_screen(bands, noise=noise):
            scaled = np.arcsinh(bands[2::-1] / np.reshape(noise[2::-1], (3, 1, 1)) / 3)
            return np.clip(scaled / np.arcsinh(100), 0, 1).transpose(1, 2, 0)

        size = {"figsize": (16, 2.6 * len(separators)), "layout": "constrained"}
        figure, axes = plt.subplots(len(separators), 8, squeeze=False, **size)
        for row, separator in zip(axes, separators, strict=True):
            (result,) = separator.separate([image], [positions], rms=[rms])
            brightest = np.argsort(-result.fluxes[:, 1])[:6]
            row[0].imshow(to_screen(image), origin="lower")
            row[0].plot(*peaks.T, "+", color="white")
            row[0].set_title(type(separator).__name__)
            for axis, index in zip(row[1:7], brightest, strict=False):
                axis.imshow(to_screen(result.isolated(index)), origin="lower")
                axis.set_title(f"{index}: {result.fluxes[index, 1]:.1f}")
            sky = np.divide(result.residual[1], rms[1], where=rms[1] > 0, out=0 * rms[1])
            row[7].imshow(sky, cmap="gray", origin="lower", vmin=-4, vmax=4)
            row[7].set_title("residual, ±4 RMS")
        for axis in axes.flat:
            axis.set_axis_off()
        figure.savefig(output / f"{name}.png", dpi=70)
        plt.close(figure)
        print(f"  wrote {output / name}.png: {len(peaks)} sources, {image.shape[1:]} pixels")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    names = ("pairs", "quads", "simulators", "bands", "bad-input", "pictures")
    parser.add_argument("what", nargs="*", choices=[*names, []], help="what to run")
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--quads", type=int, default=150)
    parser.add_argument(
        "--data",
        type=Path,
        default=None,
        help="folder with sim_btk_blends, lsst_deblender_sims, scarlet_sim_blends and "
        "hsc_cosmos_blends",
    )
    parser.add_argument("--weights", default=None, help="of a UNetSeparator: name or file")
    parser.add_argument("--output", type=Path, default=Path(), help="folder of the pictures")
    arguments = parser.parse_args()
    separators = [TemplateSeparator()]
    if arguments.weights:
        separators.append(UNetSeparator(weights=arguments.weights, device="cpu"))
    warnings.simplefilter("ignore", NoSourcesWarning)
    simulators = ("simulators",) if arguments.data else ()
    what = arguments.what or ("pairs", "quads", *simulators)
    if "pairs" in what:
        run_blends(arguments.pairs, 2, separators)
    if "quads" in what:
        run_blends(arguments.quads, 4, separators)
    if "simulators" in what:
        run_toolkit(arguments.data, separators)
        run_scene("lsst_deblender_sims", lsst_scene(arguments.data), separators)
        run_scene("scarlet_sim_blends", scarlet_scene(arguments.data), separators)
    if "bands" in what:
        run_bands(arguments.pairs, separators)
        if arguments.data:
            run_scarlet_bands(arguments.data, separators)
    if "bad-input" in what:
        run_bad_input()
    if "pictures" in what:
        draw_real_blends(arguments.data, separators, arguments.output)


if __name__ == "__main__":
    main()
