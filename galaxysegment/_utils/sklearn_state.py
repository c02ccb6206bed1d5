"""Fitted scikit-learn objects as plain arrays and back, so that a model file needs no pickle."""

import numpy as np

# What each model predicts with; everything else is a parameter or a by-product of fitting.
_KMEANS = ("cluster_centers_", "n_features_in_", "inertia_", "n_iter_")
_FOREST = ("classes_", "n_classes_", "n_outputs_", "n_features_in_")
_NODE_FIELDS = (
    "left_child",
    "right_child",
    "feature",
    "threshold",
    "impurity",
    "n_node_samples",
    "weighted_n_node_samples",
    "missing_go_to_left",
)


def supported_models():
    """Name, class, writer and reader of the state of every scikit-learn model that can be kept."""
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.ensemble import RandomForestClassifier

    kmeans = (_attributes_of(_KMEANS), set_kmeans_state)
    return {
        "KMeans": (KMeans, *kmeans),
        "MiniBatchKMeans": (MiniBatchKMeans, *kmeans),
        "RandomForestClassifier": (RandomForestClassifier, forest_state, set_forest_state),
    }


def _attributes_of(names):
    return lambda model: {name: getattr(model, name) for name in names if hasattr(model, name)}


def _set_attributes(names):
    def write(model, state):
        for name in names:
            if name in state:
                setattr(model, name, state[name])

    return write


def set_kmeans_state(kmeans, state):
    """Give a k-means model its centres.

    Raises
    ------
    ValueError
        If the centres are not a table of as many columns as features: scikit-learn would read
        beyond its end.
    """
    from sklearn.utils._openmp_helpers import _openmp_effective_n_threads

    if not state:
        return
    centres = state["cluster_centers_"]
    if (
        centres.dtype.kind != "f"
        or centres.ndim != 2
        or centres.shape[1] != state["n_features_in_"]
    ):
        raise ValueError(
            "The centres of the clusters are no table of numbers, one column per feature."
        )
    _set_attributes(_KMEANS)(kmeans, state)
    kmeans._n_threads = (
        _openmp_effective_n_threads()
    )  # of this machine, not of the one that trained


def forest_state(forest):
    """Return the state of a fitted forest: the nodes of all trees, one array per field."""
    if not hasattr(forest, "estimators_"):
        return {}
    states = [tree.tree_.__getstate__() for tree in forest.estimators_]
    nodes = np.concatenate([state["nodes"] for state in states])
    return {
        **_attributes_of(_FOREST)(forest),
        "n_nodes": np.array([state["node_count"] for state in states], dtype=np.int64),
        "max_depth": np.array([state["max_depth"] for state in states], dtype=np.int64),
        "values": np.concatenate([state["values"] for state in states]),
        "nodes": {
            name: np.ascontiguousarray(nodes[name])
            for name in _NODE_FIELDS
            if name in nodes.dtype.names
        },
    }


def set_forest_state(forest, state):
    """Give a forest the trees of `forest_state`.

    Raises
    ------
    ValueError
        If a node points outside its tree: scikit-learn would follow it out of memory.
    """
    if not state:
        return
    _set_attributes(_FOREST)(forest, state)
    # scikit-learn has an int here for one output, and compares it
    forest.n_outputs_, forest.n_classes_ = (
        int(state["n_outputs_"]),
        int(np.asarray(state["n_classes_"])),
    )
    starts = np.concatenate([[0], np.cumsum(state["n_nodes"])])
    forest.estimators_ = [
        _make_tree(forest, state, slice(int(start), int(stop)), int(depth))
        for start, stop, depth in zip(starts, starts[1:], state["max_depth"], strict=False)
    ]


def _make_tree(forest, state, part, max_depth):
    from sklearn.tree import DecisionTreeClassifier
    from sklearn.tree._tree import Tree

    n_features = int(forest.n_features_in_)
    tree = Tree(n_features, np.array([forest.n_classes_], dtype=np.intp), 1)
    fields = {name: values[part] for name, values in state["nodes"].items()}
    n_nodes = part.stop - part.start
    if n_nodes < 1:
        raise ValueError("A tree of the forest has no node.")
    _check_nodes(fields, n_nodes, n_features)
    nodes = np.zeros(n_nodes, dtype=tree.__getstate__()["nodes"].dtype)
    for name in set(nodes.dtype.names) & set(fields):
        if not np.can_cast(fields[name].dtype, nodes.dtype[name], casting="same_kind"):
            raise ValueError(
                f"The {name} of a tree of the forest has dtype {fields[name].dtype}: "
                f"it must be {nodes.dtype[name]}."
            )
        nodes[name] = fields[name]
    values = np.ascontiguousarray(state["values"][part])
    tree.__setstate__(
        {"max_depth": max_depth, "node_count": n_nodes, "nodes": nodes, "values": values}
    )
    owner = DecisionTreeClassifier()
    owner.tree_, owner.n_features_in_, owner.n_outputs_ = tree, n_features, 1
    owner.classes_, owner.n_classes_, owner.max_features_ = (
        forest.classes_,
        forest.n_classes_,
        n_features,
    )
    return owner


def _check_nodes(fields, n_nodes, n_features):
    for name in ("left_child", "right_child", "feature"):
        # NaN would pass every comparison below
        if fields[name].dtype.kind not in "iu" or fields[name].shape != (n_nodes,):
            raise ValueError(
                f"The {name} of a tree of the forest is not one whole number per node."
            )
    here = np.arange(n_nodes)
    inner = fields["left_child"] != -1
    for name in ("left_child", "right_child"):
        child = fields[name][inner]
        # children come after their parent, so no path is endless
        if ((child <= here[inner]) | (child >= n_nodes)).any():
            raise ValueError("A tree of the forest points outside itself.")
    feature = fields["feature"][inner]
    if ((feature < 0) | (feature >= n_features)).any():
        raise ValueError("A tree of the forest asks for a feature that is not there.")
