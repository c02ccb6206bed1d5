"""Measure ten ratios over commits, so that a slower commit is seen.

    python benchmarks/watch.py v0.1.0 HEAD~10 HEAD
    python benchmarks/watch.py HEAD~10 HEAD --only sep catalog --slower 1.3 --output watch.csv

Each commit is checked out into a folder of its own, and measured with the Python that runs this
script. A ratio is the processor seconds of the package over those of a peer (sep, photutils,
scikit-learn, torch) that does comparable work in the same process. Commits take turns, and the
median over the rounds counts: a busy machine slows all of them. The exit status is 1 if a ratio
rises by more than ``--slower`` from one commit to the next.
"""

import argparse
import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


# Commits are compared at the same settings, whatever their defaults are.
SETTINGS = {"n_sigma": 1.5, "n_pixels": 10, "box_size": 50}

# ---- the ten pairs: what the package does, and what a peer does ----


def load_data():
    """Return the sample field, its first patches and its label map."""
    import numpy as np

    from galaxysegment.datasets import load_sample_field

    field = load_sample_field()
    X, y = field.patches(size=256, rms=True)
    image = np.ascontiguousarray(field.image[0], dtype=np.float32)
    return field, X, y, image


def pair_start():
    """Import a segmenter; peer: import scikit-learn."""
    ours = [sys.executable, "-c", "from galaxysegment import PhotutilsSegmenter"]
    peer = [sys.executable, "-c", "import sklearn.base"]
    return lambda: subprocess.run(ours, check=True), lambda: subprocess.run(peer, check=True)


def pair_sep():
    """SEPSegmenter; peer: sep itself."""
    import sep

    from galaxysegment import SEPSegmenter

    field, _, _, image = load_data()
    segmenter = SEPSegmenter(deblend=True, **SETTINGS)

    def peer():
        background = sep.Background(image, bw=50, bh=50)
        sep.extract(image - background, 1.5, err=background.rms(), segmentation_map=True)

    return lambda: segmenter.predict(field.image), peer


def pair_photutils():
    """PhotutilsSegmenter; peer: the steps of photutils."""
    from astropy.convolution import convolve
    from photutils.background import Background2D
    from photutils.segmentation import SourceFinder, make_2dgaussian_kernel

    from galaxysegment import PhotutilsSegmenter

    field, _, _, image = load_data()
    segmenter = PhotutilsSegmenter(deblend=True, **SETTINGS)
    finder = SourceFinder(n_pixels=10, progress_bar=False)

    def peer():
        background = Background2D(image, 50, filter_size=3)
        smooth = convolve(image - background.background, make_2dgaussian_kernel(3, 5))
        finder(smooth, 1.5 * background.background_rms)

    return lambda: segmenter.predict(field.image), peer


def pair_kmeans():
    """KMeansSegmenter; peer: KMeans on the pixels."""
    from sklearn.cluster import KMeans

    from galaxysegment import KMeansSegmenter

    field, _, _, image = load_data()
    pixels = image.reshape(-1, 1)
    segmenter = KMeansSegmenter(random_state=0)
    return (
        lambda: segmenter.fit(field.image).predict(field.image),
        lambda: KMeans(2, n_init=10, random_state=0).fit(pixels).predict(pixels),
    )


def pair_features():
    """PixelFeatures; peer: a local binary pattern of scikit-image."""
    import numpy as np
    from skimage.feature import local_binary_pattern

    from galaxysegment.preprocessing import PixelFeatures

    _, X, _, image = load_data()
    levels = np.clip(image, *np.percentile(image, [1, 99])).astype(np.int32)
    transformer = PixelFeatures().fit(X[:1, :1])
    return (
        lambda: transformer.transform(X[:1, :1]),
        lambda: local_binary_pattern(levels, 8, 1),
    )


def pair_unet():
    """UNetSegmenter with one view; peer: the bare net in torch."""
    import torch

    from galaxysegment import UNetSegmenter

    _, X, _, _ = load_data()
    segmenter = UNetSegmenter(weights="vis", rms_band=-1, n_views=1, precision="float32")
    segmenter.predict(X[:1])
    net = segmenter.net_.module_.eval().to(memory_format=torch.channels_last)
    batch = torch.zeros(2, 1, 256, 256).to(memory_format=torch.channels_last)

    def peer():
        with torch.inference_mode():
            net(batch)

    return lambda: segmenter.predict(X[:2]), peer


def pair_catalog():
    """source_catalog with Kron apertures; peer: photutils' SourceCatalog."""
    from photutils.segmentation import SegmentationImage, SourceCatalog

    from galaxysegment.catalog import source_catalog

    field, _, _, image = load_data()
    sources = SegmentationImage(field.labels)

    def peer():
        table = SourceCatalog(image, sources, error=field.rms)
        return table.kron_flux, table.semimajor_axis, table.orientation

    return lambda: source_catalog(field.labels, field.image[0], rms=field.rms, kron=True), peer


def pair_scores():
    """detection_scores; peer: scikit-learn's Jaccard score of the same pixels."""
    import numpy as np
    from sklearn.metrics import jaccard_score

    from galaxysegment.metrics import detection_scores

    field, _, _, _ = load_data()
    predicted = np.roll(field.labels, 1, axis=0)
    true, other = field.labels.ravel() > 0, predicted.ravel() > 0
    return (
        lambda: detection_scores(field.labels, predicted),
        lambda: jaccard_score(true, other),
    )


def pair_mosaic():
    """segment_mosaic in tiles; peer: sep on the whole image."""
    import numpy as np

    from galaxysegment import SEPSegmenter
    from galaxysegment.mosaic import segment_mosaic

    image = np.tile(load_data()[3], (2, 2))
    segmenter = SEPSegmenter(deblend=False, **SETTINGS)
    return (
        lambda: segment_mosaic(segmenter, image, tile_size=512, progress=False),
        sep_on(image),
    )


def pair_separation():
    """TemplateSeparator; peer: sep on the same pixels."""
    import numpy as np

    from galaxysegment.separation import TemplateSeparator

    _, X, y, _ = load_data()
    separator = TemplateSeparator()
    images = [np.ascontiguousarray(X[0, 0]) - np.median(X[0, 0])]
    return lambda: separator.separate(images, [y[0]]), sep_on(np.tile(X[0, 0], (4, 4)))


def sep_on(image):
    """Return a function that runs sep on an image."""
    import numpy as np
    import sep

    image = np.ascontiguousarray(image, dtype=np.float32)

    def peer():
        background = sep.Background(image, bw=50, bh=50)
        sep.extract(image - background, 1.5, err=background.rms(), segmentation_map=True)

    return peer


PAIRS = {
    "start": pair_start,
    "sep": pair_sep,
    "photutils": pair_photutils,
    "kmeans": pair_kmeans,
    "features": pair_features,
    "unet": pair_unet,
    "catalog": pair_catalog,
    "scores": pair_scores,
    "mosaic": pair_mosaic,
    "separation": pair_separation,
}


# ---- in the process of a commit ----


def measure(names, turns=3):
    """Return the ratio of each pair; None if this commit lacks what it needs."""
    ratios = {}
    for name in names:
        try:
            ours, peer = PAIRS[name]()
            seconds = [[processor_seconds(task) for task in (ours, peer)] for _ in range(turns + 1)]
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
            ratios[name] = None
            continue
        mine, theirs = zip(*seconds[1:], strict=True)  # the first turn compiles
        ratios[name] = statistics.median(mine) / statistics.median(theirs)
    return ratios


def processor_seconds(task):
    """Processor seconds of a call and of the processes that it starts, repeated up to 0.2 s."""
    count, before = 0, used()
    while not count or used() - before < 0.2:
        task()
        count += 1
    return (used() - before) / count


def used():
    """Processor seconds of this process and of its children that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


# ---- over commits ----


def watch(commits, names, rounds, folder):
    """Return {commit: {name: median ratio or None}}."""
    folders = {commit: check_out(commit, folder / f"{n}") for n, commit in enumerate(commits)}
    ratios = {commit: {name: [] for name in names} for commit in commits}
    for _ in range(rounds):
        for commit, path in folders.items():
            measured = measure_in(path, names)
            print(commit, measured, file=sys.stderr, flush=True)
            for name, ratio in measured.items():
                ratios[commit][name].append(ratio)
    return {
        commit: {name: middle(values) for name, values in by_name.items()}
        for commit, by_name in ratios.items()
    }


def middle(values):
    return None if None in values else statistics.median(values)


def check_out(commit, path):
    """Extract the tree of a commit into a folder."""
    path.mkdir(parents=True)
    archive = subprocess.run(
        ["git", "archive", commit, "galaxysegment"], cwd=ROOT, capture_output=True, check=False
    )
    if archive.returncode:
        raise SystemExit(f"{commit}: {archive.stderr.decode().strip()}")
    subprocess.run(["tar", "-x", "-C", str(path)], input=archive.stdout, check=True)
    return path


def measure_in(path, names):
    """Measure the package in a folder, in a process of its own with one thread."""
    command = [sys.executable, "-W", "ignore", str(Path(__file__).resolve()), "--measure", *names]
    environment = {**os.environ, "PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=path, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def slower(table, factor):
    """Yield (name, commit before, commit, rise) of the ratios that rise by more than `factor`."""
    commits = list(table)
    for name in table[commits[0]]:
        known = [commit for commit in commits if table[commit][name] is not None]
        for before, after in pairwise(known):
            rise = table[after][name] / table[before][name]
            if rise > factor:
                yield name, before, after, rise


def as_text(table, factor):
    """Return the table as text, a column for each commit; ``!`` marks a slower commit."""
    marked = {(name, after) for name, _, after, _ in slower(table, factor)}
    commits = list(table)
    widths = [max(8, len(commit)) + 2 for commit in commits]
    names = (f"{name:>{width}}" for name, width in zip(commits, widths, strict=True))
    lines = [f"{'ratio to peer':<16}" + "".join(names)]
    for name in table[commits[0]]:
        line = f"{name:<16}"
        for commit, width in zip(commits, widths, strict=True):
            ratio = table[commit][name]
            mark = "!" if (name, commit) in marked else " "
            line += f"{'–' if ratio is None else f'{ratio:.3g}':>{width - 1}}{mark}"
        lines.append(line)
    return "\n".join(lines)


def write_csv(table, path):
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["commit", *next(iter(table.values()))])
        for commit, ratios in table.items():
            writer.writerow([commit, *ratios.values()])


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commits", nargs="*", help="oldest first: tags, branches, hashes")
    parser.add_argument("--only", nargs="+", choices=PAIRS, default=list(PAIRS), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each commit (%(default)s)")
    parser.add_argument(
        "--slower", type=float, default=1.2, help="rise that counts as slower (%(default)s)"
    )
    parser.add_argument("--output", help="CSV file for the table")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return 0
    if not options.commits:
        parser.error("name at least one commit")
    with tempfile.TemporaryDirectory() as folder:
        table = watch(options.commits, options.only, options.rounds, Path(folder))
    print(as_text(table, options.slower))
    if options.output:
        write_csv(table, options.output)
    worse = list(slower(table, options.slower))
    for name, before, after, rise in worse:
        print(f"{name} is {rise:.2f} times as slow in {after} as in {before}")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
