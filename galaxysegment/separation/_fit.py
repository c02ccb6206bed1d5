"""Templates of the sources of one blend."""

import numpy as np

from ._blends import smooth_light

_SMOOTHING = 3.0  # S/N of a pixel at which it and its annulus count the same
_TRIAL = 8  # rounds after which the better of two starts is known


def fit_scene(scene, n_iterations):
    """Return the template of each source of a blend, in the light of the detection image.

    Close sources of similar brightness start from the whole light, faint companions of bright
    galaxies from what brighter sources leave of it. Both ways are gone for a few rounds; the
    templates that fit the image better are kept and refined.
    """
    from ._template_kernels import first_templates, renew_templates

    boxes = np.ascontiguousarray(scene.boxes)
    sizes = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    # In units of the noise, because the kernels' smallest numbers have none.
    unit = scene.detection_noise.min()
    light, noise = scene.detection / unit, scene.detection_noise / unit
    weight = np.where(scene.has_data, 1 / noise**2, 0.0)
    given = np.ascontiguousarray(scene.centres, dtype=np.float64)
    fixed = (light, noise, weight, boxes, offsets, given, np.ascontiguousarray(scene.freedom))
    smooth = smooth_light(light)

    def renew(fit, first, last):
        renew_templates(*fixed, first, last, _SMOOTHING, *fit)

    def misfit(fit):
        return (weight * (light - fit[1]) ** 2).sum()

    starts = (False, True) if len(boxes) > 1 else (False,)
    n_trial = min(_TRIAL, n_iterations) if len(boxes) > 1 else 0
    fits = [
        (*first_templates(smooth, boxes, given, offsets, in_turn), given.copy())
        for in_turn in starts
    ]
    for fit in fits:
        renew(fit, 0, n_trial)
    best = min(fits, key=misfit)
    renew(best, n_trial, n_iterations)
    templates, _, _ = best
    return [
        unit * templates[start:stop].reshape(y1 - y0, x1 - x0)
        for start, stop, (y0, x0, y1, x1) in zip(
            offsets[:-1], offsets[1:], boxes.tolist(), strict=True
        )
    ]
