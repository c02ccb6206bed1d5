"""Train a U-Net that tells galaxies, stars and artefacts apart, from simulations alone.

    python -m benchmarks.train_shipped_classes --output sky.safetensors --folder training

It begins with the shipped weights "vis" and a head for more classes. After every round, some new
fields and some of earlier rounds, the net is written to the folder; started again, the training
goes on after the last round. Half of the fields are `make_sky`'s with all that it adds, a third
`make_sky`'s without, the others `make_field`'s, each of another telescope.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np

from galaxysegment import UNetSegmenter
from galaxysegment._utils.model_file import read_model_file, write_model_file
from galaxysegment.datasets import make_field, make_sky
from galaxysegment.datasets._sky_stream import draw_telescope
from galaxysegment.detection._background import background_maps
from galaxysegment.persistence import load, save
from galaxysegment.structures import ARTEFACT, GALAXY, SKY, STAR, TRAIL, VOID

CLASSES = (GALAXY, STAR, ARTEFACT)
SHAPE = (512, 512)
N_PIXELS = 4  # smallest source in the truth
PLAIN = {
    **dict.fromkeys(("large_galaxies", "clusters", "bright_stars", "cirrus", "satellites"), 0.0),
    "cosmic_rays": 0.0,
}


def simulate(seed):
    """Make one field: image and RMS, float32 (2, height, width), and its panoptic truth, int32."""
    rng = np.random.default_rng([seed, 11])
    settings, kind = draw_telescope(rng), rng.uniform()
    if kind < 0.17:
        names = "pixel_scale psf_fwhm depth sky_level sky_gradient read_noise density star_fraction"
        chosen = {name: settings[name] for name in names.split()}
        field = make_field(SHAPE, n_pixels=N_PIXELS, **chosen, random_state=seed)
        class_map = np.concatenate([[SKY], field.classes])[field.labels]
    else:
        settings |= PLAIN if kind < 0.5 else {}
        field, class_map = make_sky(SHAPE, n_pixels=N_PIXELS, **settings, random_state=seed)
    image, rms = np.array(field.image[0]), np.array(field.rms)
    if rng.uniform() < 0.3 and kind >= 0.5:  # cores of saturated stars are masked
        image[image > 0.98 * (settings["saturation"] + settings["sky_level"])] = np.nan
    if rng.uniform() < 0.2:  # a pipeline took light of large sources for the sky
        level = background_maps(np.where(np.isnan(image), np.nanmedian(image), image), box_size=128)
        image -= level[0]
    if rng.uniform() < 0.5:
        no_data = np.isnan(image)
        rms = background_maps(np.where(no_data, 0, image), mask=no_data, box_size=64)[1]
    unit = np.exp(rng.uniform(-8, 4))
    planes = np.stack([image * unit, rms * unit]).astype(np.float32)
    return planes, np.stack([to_classes(class_map, image), field.labels]).astype(np.int32)


def to_classes(class_map, image):
    """Class of each pixel as the net learns it: trails are artefacts, diffuse light is sky."""
    classes = np.where(class_map == TRAIL, ARTEFACT, class_map)
    classes = np.where(np.isin(classes, CLASSES), classes, SKY)
    return np.where(np.isnan(image), VOID, classes)


def cached(seed, folder):
    """Simulate a field, or read it back."""
    path = folder / f"{seed}.npz"
    if path.exists():
        with np.load(path) as stored:
            return stored["planes"], stored["truth"]
    planes, truth = simulate(seed)
    part = path.with_name(f".{seed}.{os.getpid()}.npz")
    np.savez(part, planes=planes, truth=truth)
    part.replace(path)
    return planes, truth


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="fields and checkpoints")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--new", type=int, default=16, help="new fields in a round")
    parser.add_argument("--old", type=int, default=16, help="fields of earlier rounds in a round")
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate of the first round")
    parser.add_argument("--seed", type=int, default=2027)
    parser.add_argument("--minutes", type=float, help="begin no round after so many minutes")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    start, unet = time.monotonic(), None
    for number in range(last_round(options.folder) + 1, options.rounds):
        if options.minutes and time.monotonic() - start > 60 * options.minutes:
            break
        unet = unet or checkpoint(options.folder, number - 1, options.seed)
        train(unet, number, options)
        save(unet, options.folder / f"round_{number:03d}.safetensors")
    write(options.folder / f"round_{last_round(options.folder):03d}.safetensors", options.output)


def last_round(folder):
    """Number of the last round whose net is in the folder, −1 for none."""
    return max((int(path.stem[6:]) for path in folder.glob("round_*.safetensors")), default=-1)


def checkpoint(folder, number, seed):
    """Return the net after a round, or the net to begin with."""
    if number >= 0:
        return load(folder / f"round_{number:03d}.safetensors")
    return UNetSegmenter(
        weights="vis",
        classes=CLASSES,
        rms_band=-1,
        max_epochs=1,
        schedule=None,
        threshold=0.5,
        validation_fraction=0,
        random_state=seed,
        verbose=1,
    )


def train(unet, number, options):
    """Train one round."""
    begun = time.process_time()
    first = options.seed * 100_000
    new = range(number * options.new, (number + 1) * options.new)
    rng = np.random.default_rng([options.seed, number])
    n_old = min(options.old, number * options.new)
    old = rng.choice(max(number * options.new, 1), n_old, replace=False)
    fields = [cached(first + int(index), options.folder) for index in (*new, *old)]
    drawn = time.process_time()
    # a cosine, as of the schedule "one-cycle"
    unet.set_params(lr=options.lr * (0.02 + 0.49 * (1 + np.cos(np.pi * number / options.rounds))))
    unet.partial_fit(*zip(*fields, strict=True))
    loss = unet.history_[-1]["train_loss"]
    spent = drawn - begun, time.process_time() - drawn
    print(f"round {number}: loss {loss:.4f}, {spent[0]:.0f} + {spent[1]:.0f} CPU s", flush=True)


def write(path, output):
    """Write a net with half floats."""
    tree = read_model_file(path)
    tensors = tree["state"]["tensors"]
    for name, tensor in tensors.items():
        if tensor.dtype == np.float32:
            tensors[name] = tensor.astype(np.float16)
    write_model_file(output, tree)


if __name__ == "__main__":
    main()
