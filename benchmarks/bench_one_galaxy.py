"""How many large galaxies come out in pieces, and how many of their companions are found.

Run ``GALAXYSEGMENT_DATA=data python -m benchmarks.bench_one_galaxy``. Scenes are those of
`galaxy_scenes` with seeds that the boosted trees have not seen. Then the source F1 and pixel IoU on
fields of small galaxies, where ``deblend="galaxy"`` must be no worse than ``deblend=True``.

The first rows are no programs but limits, see `galaxy_limits`. ``--rich`` takes the galaxies of
`make_sky`. ``--kinds edge-on irregular --first-seed 3200000`` draws other scenes, of the kinds that
are split most often, to develop with.
"""

import argparse
import time
import warnings

import numpy as np
from scipy import ndimage

from galaxysegment import (
    MaskRCNNSegmenter,
    NoSourcesWarning,
    PhotutilsSegmenter,
    SEPSegmenter,
    UNetSegmenter,
)
from galaxysegment.metrics import detection_scores, iou_score

from .bench_defaults import simulated_fields
from .galaxy_limits import limits
from .galaxy_scenes import KINDS, make_scene
from .real_sky import run_sextractor

FIRST_SEED = 2 * 10**6
ACROSS = 60  # pixels
PIECE = 0.05  # of the light of a galaxy
SETTINGS = {"n_sigma": 1.0, "box_size": 128}


def systems(options):
    """Name and function of every row that is wanted."""
    for name, predict in all_systems(options.unet):
        if options.rows in name:
            yield name, predict


def all_systems(with_unet):
    """Name and function of every row."""
    yield "SExtractor", lambda images: [run_sextractor(image, np.isnan(image)) for image in images]
    for name, cls in (("photutils", PhotutilsSegmenter), ("sep", SEPSegmenter)):
        for how in (True, "galaxy"):
            yield f"{name} deblend={how!r}", cls(deblend=how, **SETTINGS).predict
    if with_unet:
        for how in (True, "galaxy"):
            segmenter = UNetSegmenter(weights="vis", deblend=how)
            yield f"unet deblend={how!r}", segmenter.predict
        for how in ("net", "connected"):
            segmenter = MaskRCNNSegmenter(weights="blends", large_sources=how)
            yield f"Mask R-CNN large_sources={how!r}", segmenter.predict


def pieces(scene, labels, all_light=False):
    """Largest share of the galaxy's light in a second label, and the label of the galaxy.

    Light counts where the galaxy is the brightest source, or wherever it exceeds the noise.
    """
    inside = scene.light[0] > 1 if all_light else scene.truth() == 1
    light = np.bincount(labels[inside], weights=scene.light[0][inside], minlength=2)
    light[0] = 0
    main = int(light.argmax())
    total = light.sum()
    light[main] = 0
    return (light.max() / total if total > 0 else 0.0), main


def companions(scene, labels, main):
    """Signal to noise of companions in the galaxy's mask, and whether they shine and are found.

    A companion shines if it is the brightest source of a pixel beside its centre, or of its own.
    """
    rows, taken = [], {0, main}
    light = scene.light[0]
    for index in np.argsort(-scene.snr[1:], kind="stable") + 1:
        y, x = np.rint(scene.centres[index]).astype(int)
        if light[y, x] < 1 or scene.snr[index] < 20:
            continue
        near = slice(max(0, y - 1), y + 2), slice(max(0, x - 1), x + 2)
        own = [number for number in np.unique(labels[near]).tolist() if number not in taken]
        taken.update(own[:1])
        shines = (scene.light[(slice(None), *near)].argmax(axis=0) == index).any()
        rows.append((scene.snr[index], shines, bool(own)))
    return rows


def is_large(scene):
    """Whether the galaxy is over 60 pixels across, and most of its mask is one piece."""
    mask = scene.light[0] > 1
    parts, n_parts = ndimage.label(mask)
    if not n_parts:
        return False
    sizes = np.bincount(parts.ravel())[1:]
    box = ndimage.find_objects(parts)[sizes.argmax()]
    return max(side.stop - side.start for side in box) > ACROSS


def large_scenes(n, rich, kinds=None, seed=FIRST_SEED):
    """Scenes around a galaxy over 60 pixels across; if `rich`, those of `make_sky`."""
    scenes = []
    kinds = kinds or [*sorted(set(KINDS) - {"field", "pair"}), "spiral", "spiral"]
    while len(scenes) < n:
        scene = make_scene(seed, kind=kinds[seed % len(kinds)], rich=rich)
        seed += 1
        if is_large(scene):
            scenes.append(scene)
    return scenes


def summary_of(scenes, maps, all_light=False):
    """One line: how many galaxies are split, by kind, and how many companions have labels."""
    split, rows = [], []
    for scene, labels in zip(scenes, maps, strict=True):
        share, main = pieces(scene, labels, all_light)
        split.append(share > PIECE)
        rows += companions(scene, labels, main)
    split, rows = np.array(split), np.array(rows).reshape(-1, 3)
    kind_of = np.array([scene.kind for scene in scenes])
    snr, shines, seen = rows[:, 0], rows[:, 1] > 0, rows[:, 2] > 0
    by_kind = " ".join(f"{kind} {split[kind_of == kind].mean():.2f}" for kind in np.unique(kind_of))
    groups = snr < 50, snr >= 50, (snr < 50) & shines, (snr >= 50) & shines
    found_of = " ".join(f"{seen[group].mean():.3f} of {group.sum()}" for group in groups)
    return f"split {split.mean():.3f} ({by_kind}); found {found_of}"


def large_galaxies(n, options):
    scenes = large_scenes(n, options.rich, options.kinds, options.first_seed)
    print(f"{len(scenes)} galaxies; split, by kind; companions found: S/N 20-50, 50+, and of those")
    print("that shine most at their centre; CPU s")
    for name, maps, all_light in limits(scenes, SETTINGS):
        print(f"{name:28}", summary_of(scenes, maps, all_light), flush=True)
    for name, predict in systems(options):
        start = time.process_time()
        maps = [predict([scene.image])[0] for scene in scenes]
        spent = time.process_time() - start
        print(f"{name:28} {summary_of(scenes, maps)}; {spent:.1f} s", flush=True)


def small_galaxies(options):
    fields = simulated_fields()
    print("F1 and IoU of", *fields, sep="; ")
    for name, predict in systems(options):
        cells = []
        start = time.process_time()
        for images, truth in fields.values():
            maps = predict(images)
            cells.append((detection_scores(truth, maps).f1, iou_score(truth, maps)))
        cells.append(np.mean(cells, axis=0))
        spent = time.process_time() - start
        print(
            f"{name:28}",
            " ".join(f"{f1:.3f}/{iou:.3f}" for f1, iou in cells),
            f"{spent:.1f} s",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--unet", action="store_true", help="the shipped nets too")
    parser.add_argument("--rows", default="", help="systems whose name holds this word")
    parser.add_argument("--rich", action="store_true", help="large galaxies of make_sky")
    parser.add_argument("--kinds", nargs="+", choices=sorted(set(KINDS)), help="of the scenes")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help="of the scenes")
    parser.add_argument("--only", choices=["large", "small"])
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", NoSourcesWarning)
    if arguments.only != "small":
        large_galaxies(arguments.n, arguments)
    if arguments.only != "large":
        small_galaxies(arguments)


if __name__ == "__main__":
    main()
