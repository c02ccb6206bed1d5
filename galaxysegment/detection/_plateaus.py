"""A series of numbers as a few plateaus: a seam's step, measured strip by strip along its line."""

import numpy as np

_COST = 9.0  # at most, of a number that is off its plateau: a source hides the step there
_SWITCH = 14.0  # cost of a new plateau: three such numbers do not make two of them worth it
_N_LEVELS = 201


def plateaus(values, scatter):
    """Cut a series into runs whose numbers agree within their scatter, but for some outliers.

    Parameters
    ----------
    values : ndarray of float, shape (n,)
        NaN is "not known".
    scatter : ndarray of float, shape (n,)
        Standard deviation of each number.

    Returns
    -------
    list of tuple of int
        First index of each run, and index after its last, from 0 to n.

    Notes
    -----
    The cheapest series of levels, by dynamic programming: a number costs the square of its distance
    from its level in units of the scatter, at most 9; a change of level costs 14.
    """
    known = np.isfinite(values) & (scatter > 0)
    if not known.any():
        return [(0, len(values))]
    levels = np.linspace(values[known].min(), values[known].max(), _N_LEVELS)
    off = np.zeros((len(values), _N_LEVELS))
    off[known] = (values[known, np.newaxis] - levels) / scatter[known, np.newaxis]
    costs = np.minimum(off**2, _COST)
    total, came_from = costs[0], np.zeros(costs.shape, dtype=np.int64)
    stay = np.arange(_N_LEVELS)
    for index, own in enumerate(costs[1:], start=1):
        best = int(total.argmin())
        switches = total[best] + _SWITCH < total
        came_from[index] = np.where(switches, best, stay)
        total = np.where(switches, total[best] + _SWITCH, total) + own
    level, starts = int(total.argmin()), [len(values)]
    for index in range(len(values) - 1, 0, -1):
        previous = int(came_from[index, level])
        if previous != level:
            starts.append(index)
        level = previous
    starts.append(0)
    return list(zip(starts[::-1][:-1], starts[::-1][1:], strict=True))
