"""Train the shipped weights, ``UNetSegmenter(weights="vis")``, from simulations alone.

    python benchmarks/train_shipped_weights.py --output first.safetensors

This is the first of two courses; `train_shipped_sources` is the second.

Every field has its own pixel scale, PSF, depth, crowding, stars, noise correlation, background and
flux unit, with or without an RMS map, and defects. The truth is `make_field`'s: a source is where
its own noise-free light exceeds the local noise.
"""

import argparse
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from scipy import ndimage

from galaxysegment import UNetSegmenter
from galaxysegment._utils.model_file import read_model_file, write_model_file
from galaxysegment.datasets._field import make_scene, make_truth
from galaxysegment.datasets._scene import Camera, add_light
from galaxysegment.detection._background import background_maps
from galaxysegment.persistence import save

N_PIXELS = 4  # smallest source in the truth
SHAPE = (512, 512)


def draw_settings(rng):
    """Draw what a telescope, a survey and a patch of sky may be like."""
    ground = rng.uniform() < 0.65
    pixel_scale = (
        rng.uniform(0.17, 0.3) if ground else np.exp(rng.uniform(np.log(0.03), np.log(0.12)))
    )
    fwhm_pixels = rng.uniform(2.5, 5.5) if ground else rng.uniform(1.4, 3.0)
    depth = rng.uniform(22.5, 27.0) if ground else rng.uniform(24.5, 29.0)
    camera = Camera(
        pixel_scale,
        pixel_scale * fwhm_pixels,
        "r",
        (np.exp(rng.uniform(3, 9)),),
        (depth,),
        rng.uniform(0, 15),
    )
    per_patch = np.exp(rng.uniform(np.log(8), np.log(90)))  # labelled sources in 256 × 256 pixels
    density = per_patch / (256 * pixel_scale / 60) ** 2
    stars = rng.uniform(0, 0.4) if rng.uniform() < 0.5 else 0.03
    return camera, density, stars


def simulate(seed):
    """Make one training field: science image and RMS, float32 (2, height, width), and its label
    map.
    """
    rng = np.random.default_rng([seed, 11])
    camera, density, stars = draw_settings(rng)
    scene = make_scene(SHAPE, camera, seed, density, stars, rng.uniform(0, 0.1), N_PIXELS)
    sources = scene.sources()
    stamps = camera.draw(sources)
    light = add_light(stamps, SHAPE)
    _, rms, sky_rms = (item[0] for item in scene.expose(light))
    steps = depth_steps(rng) if rng.uniform() < 0.3 else np.float32(1)
    rms, sky_rms = rms * steps, sky_rms * steps
    image = light[0] + scene.sky()[0] + rms * correlated_noise(rng)
    labels = make_truth(camera, sources, stamps, rms, N_PIXELS)[0]
    given = estimated_rms(image) if rng.uniform() < 0.5 else rms if rng.uniform() < 0.5 else sky_rms
    image = add_defects(image, rms, rng)
    unit = np.exp(rng.uniform(-8, 4))
    return np.stack([image * unit, given * unit]).astype(np.float32), labels


def correlated_noise(rng):
    """Unit noise, as resampling leaves it: half of the fields white, half smoothed a little."""
    noise = rng.standard_normal(SHAPE)
    if rng.uniform() < 0.4:
        noise = ndimage.gaussian_filter(noise, rng.uniform(0.3, 0.9), mode="wrap")
        noise /= noise.std()
    return noise


def depth_steps(rng):
    """Noise of a mosaic of exposures relative to its deepest part."""
    count = np.full(SHAPE, rng.integers(2, 5), dtype=np.float32)
    for axis in (0, 1):
        edge = int(rng.integers(20, SHAPE[axis] // 2))
        part = [slice(None), slice(None)]
        part[axis] = slice(0, edge) if rng.uniform() < 0.5 else slice(-edge, None)
        count[tuple(part)] -= 1
    return np.sqrt(count.max() / np.maximum(count, 1))


def estimated_rms(image):
    """Noise on a mesh, as the segmenter itself estimates it where no RMS map is given."""
    return background_maps(image, box_size=64, exclude_percentile=50)[1]


def add_defects(image, rms, rng):
    """Cosmic rays that were not flagged, dead columns and corners without data."""
    image = image.copy()
    if rng.uniform() < 0.4:
        for _ in range(rng.poisson(6)):
            y, x, angle, length = (
                rng.uniform(0, 512),
                rng.uniform(0, 512),
                rng.uniform(0, np.pi),
                rng.uniform(1, 18),
            )
            along = np.arange(0, length, 0.5)
            rows = np.clip(y + along * np.sin(angle), 0, 511).astype(int)
            columns = np.clip(x + along * np.cos(angle), 0, 511).astype(int)
            image[rows, columns] += rng.uniform(5, 60) * np.median(rms)
    if rng.uniform() < 0.3:
        columns = rng.integers(0, 512, size=int(rng.integers(1, 4)))
        image[:, columns] = np.nan
    if rng.uniform() < 0.1:
        image[: int(rng.integers(10, 120))] = np.nan
    return image


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--n-fields", type=int, default=560)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--base-width", type=int, default=16)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument(
        "--cache", type=Path, help="folder that keeps the simulated fields between runs"
    )
    options = parser.parse_args()

    fields = Parallel(n_jobs=options.n_jobs, verbose=5)(
        delayed(cached_field)(options.seed * 100_000 + index, options.cache)
        for index in range(options.n_fields)
    )
    unet = UNetSegmenter(
        base_width=options.base_width,
        scaling="noise",
        rms_band=-1,
        max_epochs=options.epochs,
        threshold="auto",
        validation_fraction=0.04,
        random_state=options.seed,
        verbose=1,
    )
    unet.fit([image for image, _ in fields], [labels for _, labels in fields])
    keep(unet, options.output)


def keep(unet, path):
    """Write the weights as half floats, shifted so that 0.5 is the threshold tuned on the
    validation images.
    """
    unet.net_.module_.head.bias.data -= np.log(unet.threshold_ / (1 - unet.threshold_))
    unet.threshold_ = 0.5
    save(unet, path)
    tree = read_model_file(path)
    tensors = tree["state"]["tensors"]
    for name, tensor in tensors.items():
        if tensor.dtype == np.float32:
            tensors[name] = tensor.astype(np.float16)
    write_model_file(path, tree)


def cached_field(seed, cache):
    path = cache / f"{seed}.npz" if cache else None
    if path is not None and path.exists():
        with np.load(path) as stored:
            return stored["image"], stored["labels"]
    image, labels = simulate(seed)
    if path is not None:
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(path, image=image, labels=labels)
    return image, labels


if __name__ == "__main__":
    main()
