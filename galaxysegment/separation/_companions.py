"""Neighbours that nobody detected: what symmetric templates cannot explain."""

from dataclasses import replace

import numpy as np
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from ._blends import nearest_pixels, offset_of_peak, smooth_light, stamp_boxes
from ._fit import fit_scene

_SMOOTHING = (
    1.2  # pixels: standard deviation of the Gaussian before peaks are sought in the residual
)
_LEAST_SIGNIFICANCE = 5.0  # of a peak of the residual
_ASYMMETRY = 0.05  # of a template's light that asymmetries of real galaxies may leave
_LEAST_DISTANCE = 2.0  # pixels from a known source
_LEAST_GAIN = 50.0  # of chi squared by one more source
_LEAST_NEED = 250.0  # of chi squared by each of the sources that are kept
_LEAST_PEAK = 6.0  # S/N of the middle of an added source: fainter ones are asymmetries of wings
_MOST_COMPANIONS = 4  # a blend, for each source that is known
_MOST_REACH = 128.0  # pixels from the centre of an added source to the edge of its stamp
_FREEDOM = 1.0  # pixels that the light may move the centre of an added source by
_ITERATIONS = 8


def find_companions(scene):
    """Find sources of a blend that are not among those given.

    A galaxy beside an undetected neighbour is not symmetric, so that light is left where the
    neighbour is. The brightest significant peak of the residual becomes a source as long as the
    templates then fit much better. In the end, sources that the fit does not need are dropped: one
    blended source may turn out to be two beside its middle.

    Parameters
    ----------
    scene : Scene

    Returns
    -------
    centres : ndarray of float, shape (n_all, 2)
        Those of the scene first, in their order, each at the place nearest to the given one.
    boxes : ndarray of int, shape (n_all, 4)
    freedom : ndarray of float, shape (n_all,)
        Pixels that each centre may move by.
    """
    n_given = len(scene.centres)
    trial = _Trial.of(scene, scene.centres)
    for _ in range(_MOST_COMPANIONS * n_given):
        place = trial.brightest_residual()
        if place is None:
            break
        more = _Trial.of(scene, np.vstack([trial.centres, place]))
        if trial.misfit(trial.total) - more.misfit(trial.total) < _LEAST_GAIN:
            break
        trial = more.recentred(scene.centres)
    while len(trial.centres) > n_given:
        fewer = trial.without_least_needed()
        if fewer is None:
            break
        trial = fewer
    centres = _given_first(scene.centres, trial.centres)
    return centres, _boxes(scene, centres), _freedom(scene, centres)


class _Trial:
    """The templates of a scene with certain centres."""

    def __init__(self, scene, centres, boxes, templates, total):
        self.scene, self.centres, self.total = scene, centres, total
        self.boxes, self.templates = boxes, templates

    @classmethod
    def of(cls, scene, centres):
        boxes = _boxes(scene, centres)
        order = np.argsort(-_light_at(scene, centres), kind="stable")
        centres, boxes = centres[order], boxes[order]
        # Centres that moved would make one symmetric source of two.
        fixed = np.zeros(len(centres))
        trial = replace(scene, centres=centres, boxes=boxes, freedom=fixed)
        templates = fit_scene(trial, _ITERATIONS)
        total = np.zeros(scene.detection.shape)
        for (y0, x0, y1, x1), template in zip(boxes.tolist(), templates, strict=True):
            total[y0:y1, x0:x1] += template
        return cls(scene, centres, boxes, templates, total)

    def recentred(self, given):
        """Return the trial with each added centre at the peak of what the other templates leave."""
        centres = self.centres.copy()
        for index, ((y0, x0, y1, x1), template) in enumerate(
            zip(self.boxes.tolist(), self.templates, strict=True)
        ):
            if (given == centres[index]).all(axis=1).any():
                continue
            own = (self.scene.detection - self.total)[y0:y1, x0:x1] + template
            place = _peak_near(smooth_light(own), centres[index] - np.array([y0, x0]))
            centres[index] = place + np.array([y0, x0])
        return self if np.array_equal(centres, self.centres) else _Trial.of(self.scene, centres)

    def misfit(self, reference):
        """Chi squared; `reference` is the light whose asymmetries are forgiven."""
        variance = self.scene.detection_noise**2 + (_ASYMMETRY * reference) ** 2
        rest = np.where(self.scene.has_data, self.scene.detection - self.total, 0.0)
        return (rest**2 / variance).sum()

    def brightest_residual(self):
        """Place of the brightest significant peak that no source explains, or None."""
        scene = self.scene
        rest = np.where(scene.has_data, scene.detection - self.total, 0.0)
        noise = scene.detection_noise / (2 * np.sqrt(np.pi) * _SMOOTHING)
        light = ndimage.gaussian_filter(self.total, _SMOOTHING)
        rest = ndimage.gaussian_filter(rest, _SMOOTHING)
        significance = rest / np.hypot(noise, _ASYMMETRY * light)
        is_peak = rest == ndimage.maximum_filter(rest, 3)
        y, x = np.nonzero(is_peak & scene.has_data & (significance > _LEAST_SIGNIFICANCE))
        distance = np.hypot(y[:, None] - self.centres[:, 0], x[:, None] - self.centres[:, 1])
        far = distance.min(axis=1) > _LEAST_DISTANCE
        if not far.any():
            return None
        best = np.argmax(rest[y[far], x[far]])
        return np.array([float(y[far][best]), float(x[far][best])])

    def peak(self, index):
        """S/N of the light of a source in the middle of its template."""
        y0, x0, _, _ = self.boxes[index]
        row, column = nearest_pixels(self.centres[index])
        light = smooth_light(self.templates[index])[row - y0, column - x0]
        return light / self.scene.detection_noise[row, column]

    def without_least_needed(self):
        """Return the trial without the source that the fit needs least, or None if it needs all."""
        trials = [
            _Trial.of(self.scene, np.delete(self.centres, index, axis=0))
            for index in range(len(self.centres))
        ]
        losses = [
            trial.misfit(self.total) - self.misfit(self.total)
            if self.peak(index) >= _LEAST_PEAK
            else 0.0
            for index, trial in enumerate(trials)
        ]
        least = int(np.argmin(losses))
        return trials[least] if losses[least] < _LEAST_NEED else None


def _peak_near(light, centre):
    """Brightest place within two pixels, to a fraction of a pixel."""
    row, column = nearest_pixels(centre)
    top, left = max(row - 2, 0), max(column - 2, 0)
    window = light[top : row + 3, left : column + 3]
    y, x = np.unravel_index(np.argmax(window), window.shape)
    y, x = y + top, x + left
    return np.array([y + offset_of_peak(light, y, x, 0), x + offset_of_peak(light, y, x, 1)])


def _light_at(scene, centres):
    rows, columns = nearest_pixels(centres).T
    return scene.detection[rows, columns]


def _freedom(scene, centres):
    """Freedom of the given sources as it was; added ones may move by a pixel."""
    freedom = np.full(len(centres), _FREEDOM)
    for centre, own in zip(scene.centres, scene.freedom, strict=True):
        freedom[(centres == centre).all(axis=1)] = own
    return freedom


def _boxes(scene, centres):
    """Stamps as large as that of the nearest source given; added ones are no giants."""
    sides = scene.boxes[:, 2:] - scene.boxes[:, :2]
    distance = np.hypot(*(centres[:, None] - scene.centres[None]).transpose(2, 0, 1))
    reaches = (sides.max(axis=1) / 2)[distance.argmin(axis=1)]
    is_added = distance.min(axis=1) > 0
    reaches[is_added] = np.minimum(reaches[is_added], _MOST_REACH)
    return stamp_boxes(centres, reaches, scene.detection.shape)


def _given_first(given, centres):
    """Order the centres: first those nearest to the given ones, then the others."""
    distance = np.hypot(*(given[:, None] - centres[None]).transpose(2, 0, 1))
    _, nearest = linear_sum_assignment(distance)
    others = np.setdiff1d(np.arange(len(centres)), nearest)
    return centres[np.concatenate([nearest, others])]
