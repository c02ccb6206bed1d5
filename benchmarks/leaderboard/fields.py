"""Simulated fields cut into patches, with a catalog of all true sources."""

from dataclasses import dataclass

import numpy as np

from galaxysegment.datasets._field import make_scene, make_truth
from galaxysegment.datasets._scene import Camera, add_light
from galaxysegment.io import Field
from galaxysegment.preprocessing import BackgroundSubtractor
from galaxysegment.structures import Instances


@dataclass
class Patches:
    """Images with their truth.

    `X` is (n, height, width) or (n, bands, height, width), `y` what an estimator is fitted to,
    `truth` the instances that scores look at, and `snr` and `mag` hold one array for each image,
    one value for each instance. `labels` is what pixel scores look at.
    """

    X: np.ndarray
    y: object
    truth: list
    labels: list
    snr: list
    mag: list

    def __len__(self):
        return len(self.X)

    def __getitem__(self, part):
        return Patches(self.X[part], self.y[part], *(item[part] for item in self._lists()))

    def _lists(self):
        return self.truth, self.labels, self.snr, self.mag


def without_sky(field, plane=False):
    """Take the background of a whole field away, as a survey does.

    What a patch alone tells of it is twice as noisy.
    """
    image = BackgroundSubtractor(box_size=100, plane=plane).fit_transform(field.image[None])[0]
    known = {
        name: getattr(field, name)
        for name in ("rms", "labels", "classes", "wcs", "instances", "catalog")
    }
    return Field(image, **known)


def join(parts):
    """Put several `Patches` behind each other."""
    ys = [part.y for part in parts]
    y = (
        np.concatenate(ys)
        if isinstance(ys[0], np.ndarray)
        else [target for y in ys for target in y]
    )
    lists = zip(*(part._lists() for part in parts), strict=True)
    return Patches(
        np.concatenate([part.X for part in parts]),
        y,
        *([x for item in group for x in item] for group in lists),
    )


def cut_labels(field, size):
    """Cut a field; its label map is the truth: contested pixels belong to the brightest source."""
    X, y = field.patches(size, rms=True)
    snr, mag = (np.asarray(field.catalog[name], dtype=float) for name in ("snr", "mag"))
    labels = np.asarray(field.labels)
    kept = [
        np.unique(labels[window])[1:] - 1
        if labels[window].min() == 0
        else np.unique(labels[window]) - 1
        for window in windows(field.shape, size)
    ]
    truth = [Instances.from_label_map(target) for target in y]
    return Patches(X, y, truth, list(y), [snr[item] for item in kept], [mag[item] for item in kept])


def cut_instances(field, size):
    """Cut a field; the truth are whole overlapping masks with their classes."""
    X, _ = field.patches(size, rms=True)
    snr, mag = (np.asarray(field.catalog[name], dtype=float) for name in ("snr", "mag"))
    truth, kept = [], []
    for rows, columns in windows(field.shape, size):
        inside = indices_inside(field.instances, rows, columns)
        kept.append(inside)
        truth.append(
            field.instances.select(inside).shift(-rows.start, -columns.start, (size, size))
        )
    return Patches(
        X, truth, truth, truth, [snr[item] for item in kept], [mag[item] for item in kept]
    )


def windows(shape, size):
    return [
        (slice(y, y + size), slice(x, x + size))
        for y in range(0, shape[0] - size + 1, size)
        for x in range(0, shape[1] - size + 1, size)
    ]


def indices_inside(instances, rows, columns):
    """Sources with at least one pixel in a window."""
    inside = []
    for index, ((y0, x0, y1, x1), crop) in enumerate(
        zip(instances.boxes.tolist(), instances.crops, strict=True)
    ):
        part = crop[
            max(rows.start - y0, 0) : max(rows.stop - y0, 0),
            max(columns.start - x0, 0) : max(columns.stop - x0, 0),
        ]
        if (
            y0 < rows.stop
            and y1 > rows.start
            and x0 < columns.stop
            and x1 > columns.start
            and part.any()
        ):
            inside.append(index)
    return np.array(inside, dtype=int)


def noisier_field(shape, seed, factor, **options):
    """`make_field` with the same sky, but `factor` times the noise; the truth follows the noise.

    Returns
    -------
    Field
    """
    field, _ = observe(shape, seed, noise=factor, **options)
    return field


def observe(shape, seed, *, noise=1.0, n_pixels=10, **camera_options):
    """Simulate a field, and also tell all sources drawn, seen or not.

    Returns
    -------
    field : Field
    sources : structured ndarray
        Positions ``x``, ``y`` and magnitudes of everything down to the depth.
    """
    options = {
        "pixel_scale": 0.1,
        "psf_fwhm": 0.17,
        "density": 92.0,
        "star_fraction": 0.03,
        "depth": 27.0,
        "sky_level": 500.0,
        "sky_gradient": 0.05,
        "read_noise": 9.0,
        **camera_options,
    }
    camera = Camera(
        options["pixel_scale"],
        options["psf_fwhm"],
        "r",
        (options["sky_level"],),
        (options["depth"],),
        options["read_noise"],
    )
    scene = make_scene(
        shape,
        camera,
        seed,
        options["density"],
        options["star_fraction"],
        options["sky_gradient"],
        n_pixels,
    )
    sources = scene.sources()
    stamps = camera.draw(sources)
    light = add_light(stamps, shape)
    image, rms, _ = scene.expose(light)
    expected = (light + scene.sky()).astype(np.float32)
    image, rms = expected + np.float32(noise) * (image - expected), rms * np.float32(noise)
    labels, instances, catalog, *_ = make_truth(camera, sources, stamps, rms[0], n_pixels)
    field = Field(
        image,
        rms=rms[0],
        labels=labels,
        classes=instances.classes,
        instances=instances,
        catalog=catalog,
    )
    return field, sources
