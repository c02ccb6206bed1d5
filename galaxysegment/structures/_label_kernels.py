"""Kernels of label maps.

numba takes a while to import, so functions import this module.
"""

from .._utils.compiled import BARE, OPTIONS, njit


@njit(**BARE)
def root_of(parent, node):
    """Find the root of a node in a forest of nodes that know their parents; shorten the way."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@njit(**BARE)
def join_labels(parent, label, other):
    """Join a label with another one, unless that is the background."""
    if other and other != label:
        root, other_root = root_of(parent, label), root_of(parent, other)
        parent[max(root, other_root)] = min(root, other_root)


@njit(**OPTIONS)
def number_touching(labels, pixels, group):
    """Replace each label in `group`, which begins as 0, 1, 2…, by the number of its group.

    Groups are numbered in the order of their smallest labels, the background first.

    Parameters
    ----------
    labels : ndarray of int32, shape (height, width)
    pixels : ndarray of int64
        Positions of its non-zero pixels in raster order.
    group : ndarray of int32, shape (n_labels + 1,)
    """
    height, width = labels.shape
    y, start = 0, 0
    for place in pixels:
        while place >= start + width:
            y, start = y + 1, start + width
        x = place - start
        label = labels[y, x]
        if x + 1 < width:
            join_labels(group, label, labels[y, x + 1])
        if y + 1 < height:
            for below in range(max(x - 1, 0), min(x + 2, width)):
                join_labels(group, label, labels[y + 1, below])
    n_groups = 0
    for label in range(group.size):
        if group[label] == label:
            group[label] = n_groups
            n_groups += 1
        else:  # smaller labels have their numbers already
            group[label] = group[group[label]]
