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
    padded_total = np.pad(total, SIDE)
    corners = np.rint(scene.centres).astype(np.int64) - SIDE // 2
    maps = np.zeros((len(templates), N_MAPS, SIDE, SIDE), dtype=np.float32)
    for own, centre, corner, box, template in zip(
        maps, scene.centres, corners, scene.boxes.tolist(), templates, strict=True
    ):
        opposite = np.rint(2 * centre).astype(np.int64) - corner - SIDE + 1
        here, there = _window(corner), _window(opposite)
        light = _placed(template, box, here)
        own[0] = light / noise[here]
        own[1] = np.maximum(padded_total[here] - light, 0) / noise[here]
        own[2] = rest[here]
        light_there = _placed(template, box, there)
        others = np.maximum(padded_total[there] - light_there, 0) / noise[there]
        own[3], own[4] = others[::-1, ::-1], rest[there][::-1, ::-1]
        own[5] = light / np.maximum(padded_total[here], 1e-9 * noise[here])
    np.arcsinh(maps[:, :5], out=maps[:, :5])
    return maps, corners


def _window(corner):
    """Slices of a stamp in maps that are padded by SIDE."""
    low = np.maximum(corner + SIDE, 0)
    return tuple(slice(start, start + SIDE) for start in low.tolist())


def _placed(template, box, window):
    """Light of a source in a window of the padded maps; 0 outside its box."""
    light = np.zeros((SIDE, SIDE))
    here, inside = [], []
    for start, stop, side in zip(box[:2], box[2:], window, strict=True):
        first = side.start - SIDE  # of the window, in the scene
        low, high = max(start, first), max(start, first, min(stop, first + SIDE))
        here.append(slice(low - first, high - first))
        inside.append(slice(low - start, high - start))
    light[*here] = template[*inside]
    return light


def corrected(scene, templates, total, changes, corners):
    """Change templates so that their sum stays as it is.

    Parameters
    ----------
    scene : Scene
    templates : list of ndarray, shape (stamp height, stamp width)
        Of the detection image.
    total : ndarray, shape (height, width)
        Their sum.
    changes : ndarray, shape (n, SIDE, SIDE)
        Of the logarithm of each template.
    corners : ndarray of int, shape (n, 2)
        As `maps_of` returns them.

    Returns
    -------
    list of ndarray, shape (stamp height, stamp width)
    """
    changed, after = [], np.zeros_like(total)
    for template, box, change, corner in zip(
        templates, scene.boxes.tolist(), changes, corners.tolist(), strict=True
    ):
        y0, x0, y1, x1 = box
        top, left = (max(low, first) for low, first in zip((y0, x0), corner, strict=True))
        bottom, right = (
            max(first, min(high, low + SIDE))
            for first, high, low in zip((top, left), (y1, x1), corner, strict=True)
        )
        light = template.copy()
        light[top - y0 : bottom - y0, left - x0 : right - x0] *= np.exp(
            change[top - corner[0] : bottom - corner[0], left - corner[1] : right - corner[1]]
        )
        after[y0:y1, x0:x1] += light
        changed.append(light)
    scale = total / np.where(after > 0, after, 1.0)
    return [
        light * scale[y0:y1, x0:x1]
        for light, (y0, x0, y1, x1) in zip(changed, scene.boxes.tolist(), strict=True)
    ]
