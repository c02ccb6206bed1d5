"""`TemplateSeparator`: shares from symmetric templates that fall outwards; nothing to fit."""

from dataclasses import replace
from numbers import Integral, Real

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from ._base import BaseSeparator
from ._companions import find_companions
from ._fit import fit_scene

__all__ = ["TemplateSeparator"]


class TemplateSeparator(BaseSeparator):
    """Divide light by templates that are symmetric and fall outwards; nothing to train.

    A galaxy looks the same when turned by 180° about its centre, and gets fainter outwards. The
    SDSS deblender [1]_ makes templates of the first property, that of HSC [2]_ and scarlet [3]_ of
    both. Here each source's template is made anew several times from what the other templates leave
    of the image: the mean of this rest and its rotation, weighted by the share of the source in
    each pixel. Where a template is fainter than about 3 RMS a pixel, it is the mean over elliptical
    annuli.

    Parameters
    ----------
    n_iterations : int, default=24
        How often each template is made anew. 4 are enough for sources that barely touch; beyond 20
        nothing changes any more.
    find_companions : bool, default=False
        Whether neighbours that nobody detected become sources too: peaks of at least 5 sigma in the
        light that symmetric templates leave, if the image cannot be explained without them. They
        follow the given sources in the result. For smooth galaxies: each arm of a spiral may become
        a source.
    growth : float, default=1.5
        How far the light of a blend reaches beyond its masks, in radii of a circle of their area;
        at least 3 and at most 64 pixels. With 0.5, fluxes miss the faint wings of large galaxies.
    masks : {"given", "light"}, default="given"
        Masks of the sources in the result. ``"given"``: as they came. ``"light"``: where the light
        of a source exceeds 1 RMS, so that masks overlap as the galaxies do; scores are then the
        signal to noise of the separated light.

    References
    ----------
    .. [1] Lupton, R. 2005, "SDSS Image Processing I: The Deblender",
       https://www.astro.princeton.edu/~rhl/photomisc/deblender.pdf
    .. [2] Bosch et al. 2018, PASJ, 70, S5. :doi:`10.1093/pasj/psx080`
    .. [3] Melchior et al. 2018, Astronomy and Computing, 24, 129.
       :doi:`10.1016/j.ascom.2018.07.001`

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment.separation import TemplateSeparator
    >>> y, x = np.indices((40, 48))
    >>> galaxies = [np.exp(-((y - 20) ** 2 + (x - centre) ** 2) / 18) for centre in (18, 29)]
    >>> image = 300 * galaxies[0] + 100 * galaxies[1]
    >>> labels = np.where(image > 3, np.where(x < 24, 1, 2), 0)
    >>> rms = np.ones((1, 40, 48))
    >>> separated, = TemplateSeparator().separate(image[None], labels[None], rms=rms)
    >>> separated.parts[0].shape == separated.isolated(0).shape, len(separated)
    (False, 2)
    >>> bool(np.allclose(separated.total() + separated.residual, image, atol=1e-3))
    True
    """

    _parameter_constraints: dict = {
        **BaseSeparator._parameter_constraints,
        "n_iterations": [Interval(Integral, 1, None, closed="left")],
        "find_companions": ["boolean"],
        "growth": [Interval(Real, 0, None, closed="left")],
        "masks": [StrOptions({"given", "light"})],
    }

    def __init__(
        self,
        *,
        n_iterations: int = 24,
        find_companions: bool = False,
        growth: float = 1.5,
        masks: str = "given",
    ) -> None:
        self.n_iterations = n_iterations
        self.find_companions = find_companions
        self.growth = growth
        self.masks = masks

    def _complete(self, scene):
        if not self.find_companions:
            return scene
        centres, boxes, freedom = find_companions(scene)
        return replace(scene, centres=centres, boxes=boxes, freedom=freedom)

    def _templates(self, scene):
        return in_bands(scene, self._detection_templates(scene))

    def _detection_templates(self, scene):
        """Return the light of each source in the detection image; override to correct it."""
        return fit_scene(scene, self.n_iterations)


def in_bands(scene, templates):
    """Return templates of the detection image in each band: each has an amplitude a band."""
    if len(scene.image) == 1:
        return [template[None] for template in templates]
    amplitudes = band_amplitudes(scene, templates)
    return [amplitudes[:, index, None, None] * template for index, template in enumerate(templates)]


def band_amplitudes(scene, templates):
    """Non-negative least-squares amplitudes of the templates in each band, shape (n_bands, n)."""
    from scipy import sparse
    from scipy.optimize import lsq_linear

    width = scene.image.shape[2]
    rows, columns, values = [], [], []
    for index, ((y0, x0, y1, x1), template) in enumerate(
        zip(scene.boxes.tolist(), templates, strict=True)
    ):
        pixels = np.arange(y0, y1)[:, None] * width + np.arange(x0, x1)
        rows.append(pixels.ravel())
        columns.append(np.full(pixels.size, index))
        values.append(template.ravel())
    shape = (scene.detection.size, len(templates))
    design = sparse.csr_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=shape
    )
    amplitudes = []
    for light, noise in zip(scene.image, scene.noise, strict=True):
        weight = np.where(scene.has_data, 1 / noise, 0.0).ravel()
        weighted = sparse.diags(weight) @ design
        gram, target = (weighted.T @ weighted).toarray(), weighted.T @ (weight * light.ravel())
        amplitudes.append(_non_negative(gram, target, lsq_linear))
    return np.array(amplitudes)


def _non_negative(gram, target, solver):
    """Solve normal equations for amplitudes of at least a millionth: every pixel has an owner."""
    scale = np.sqrt(np.maximum(np.diag(gram), 1e-30))
    root = np.linalg.cholesky(gram / np.outer(scale, scale) + 1e-9 * np.eye(len(gram)))
    solution = solver(root.T, np.linalg.solve(root, target / scale), bounds=(0, np.inf)).x / scale
    return np.maximum(solution, 1e-6)
