"""What the net of `UNetSeparator` sees of a blend: maps around each source, in S/N."""

import numpy as np

SIDE = 64  # pixels
N_MAPS = 6


def total_light(scene, templates):
    """Sum of templates of the detection image, shape (height, width)."""
    total = np.zeros(scene.detection.shape)
    for (y0, x0, y1, x1), template in zip(scene.boxes.tolist(), templates, strict=True):
        total[y0:y1, x0:x1] += template
    return total


def maps_of(scene, templates, total):
    """Cut the maps around each source.

    Parameters
    ----------
    scene : Scene
    templates : list of ndarray, shape (stamp height, stamp width)
        Of the detection image.
    total : ndarray, shape (height, width)
        Their sum.

    Returns
    -------
    maps : ndarray of float32, shape (n, N_MAPS, SIDE, SIDE)
        Template, light of the others, and residual, the two latter also turned by 180° about the
        centre, all as the arcsinh of S/N; and the share of the template.
    corners : ndarray of int, shape (n, 2)
        Row and column of the first pixel of each stamp in the scene; may be negative.
    """
    noise = np.pad(scene.detection_noise, SIDE, constant_values=1.0)
    rest = np.pad(np.where(scene.has_data, scene.detection - total, 0.0), SIDE) / noise
    padded_total = np.pad(total, SIDE) / noise
    corners = np.rint(scene.centres).astype(np.int64) - SIDE // 2
    maps = np.zeros((len(templates), N_MAPS, SIDE, SIDE), dtype=np.float32)
    for own, centre, corner, box, template in zip(
        maps, scene.centres, corners, scene.boxes.tolist(), templates, strict=True
    ):
        y0, x0, y1, x1 = box
        light = np.zeros_like(rest)
        light[y0 + SIDE : y1 + SIDE, x0 + SIDE : x1 + SIDE] = template
        light /= noise
        others = np.maximum(padded_total - light, 0)
        here = _window(corner)
        there = _window(np.rint(2 * centre).astype(np.int64) - corner - SIDE + 1)
        own[0], own[1], own[2] = light[here], others[here], rest[here]
        own[3], own[4] = others[there][::-1, ::-1], rest[there][::-1, ::-1]
        own[:5] = np.arcsinh(own[:5])
        own[5] = light[here] / np.maximum(padded_total[here], 1e-9)
    return maps, corners


def _window(corner):
    """Slices of a stamp in maps that are padded by SIDE."""
    low = np.maximum(corner + SIDE, 0)
    return tuple(slice(start, start + SIDE) for start in low.tolist())
