"""Which steps of consecutive lines go on with each other; in plain loops, which numba compiles."""

import numpy as np


def link_steps(lines, places, heights, middles, most_missed, steepest, chains):
    """Fill `chains` with the number of the chain of each step; numba compiles this function.

    Each chain goes on with the nearest step of its sign that no earlier chain has taken: within a
    pixel of its first step if it may not be tilted; else on the line through its first and its last
    step, within 3 pixels. A step that goes on with no chain begins one.

    Parameters
    ----------
    lines, places : ndarray of int, shape (n_steps,)
    heights : ndarray of float, shape (n_steps,)
        As of `Steps`.
    middles : ndarray of float, shape (n_lines,)
        Middle of the strip of each line.
    most_missed, steepest
        As of `chains_of`.
    chains : ndarray of int, shape (n_steps,)
        -1.
    """
    n_steps, n_chains, n_going, start = len(places), 0, 0, 0
    # Of each chain its first and its last step; the chains that may go on.
    firsts, lasts, going = np.zeros((3, n_steps), dtype=np.int64)
    for line in range(len(middles)):
        stop, n_kept = start, 0
        while stop < n_steps and lines[stop] == line:
            stop += 1
        for index in range(n_going):
            chain = going[index]
            first, last = firsts[chain], lasts[chain]
            expected, margin = float(places[first]), 1.0
            if steepest > 0 and first == last:
                margin = steepest * (middles[line] - middles[lines[first]])
            elif steepest > 0:
                along = middles[lines[last]] - middles[lines[first]]
                slope = (places[last] - places[first]) / along
                expected = places[last] + slope * (middles[line] - middles[lines[last]])
                margin = 3.0
            nearest, least = -1, np.inf
            for step in range(start, stop):
                off = abs(places[step] - expected)
                is_free = chains[step] < 0 and heights[step] * heights[last] > 0
                if is_free and off <= margin and off < least:
                    nearest, least = step, off
            if nearest >= 0:
                chains[nearest], lasts[chain] = chain, nearest
            if line - lines[lasts[chain]] <= most_missed:
                going[n_kept] = chain
                n_kept += 1
        for step in range(start, stop):
            if chains[step] < 0:
                chains[step], firsts[n_chains], lasts[n_chains] = n_chains, step, step
                going[n_kept] = n_chains
                n_chains, n_kept = n_chains + 1, n_kept + 1
        n_going, start = n_kept, stop
