"""Templates of the sources of one blend."""

import numpy as np

from ._blends import smooth_light

_SMOOTHING = 3.0  # S/N of a pixel at which it and its annulus count the same


def fit_scene(scene, n_iterations):
    """Return the template of each source of a blend, in the light of the detection image.

    Close sources of similar brightness start from the whole light, faint companions of bright
    galaxies from what brighter sources leave of it. Both ways are gone; the templates that fit the
    image better are kept.
    """
    from ._template_kernels import fit_templates

    boxes = np.ascontiguousarray(scene.boxes)
    sizes = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    # In units of the noise, because the kernels' smallest numbers have none.
    unit = scene.detection_noise.min()
    light, noise = scene.detection / unit, scene.detection_noise / unit
    weight = np.where(scene.has_data, 1 / noise**2, 0.0)
    arguments = (
        light,
        smooth_light(light),
        noise,
        weight,
        boxes,
        np.ascontiguousarray(scene.centres, dtype=np.float64),
        offsets,
        n_iterations,
        _SMOOTHING,
    )
    fits = [
        fit_templates(*arguments, start)
        for start in ((False, True) if len(boxes) > 1 else (False,))
    ]
    templates, _ = min(fits, key=lambda fit: (weight * (light - fit[1]) ** 2).sum())
    return [
        unit * templates[start:stop].reshape(y1 - y0, x1 - x0)
        for start, stop, (y0, x0, y1, x1) in zip(
            offsets[:-1], offsets[1:], boxes.tolist(), strict=True
        )
    ]
