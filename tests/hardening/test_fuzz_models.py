"""A sample of the fuzzed model files, and forgeries that point C libraries out of memory."""

import itertools
import zlib

import numpy as np
import pytest
from fuzzing import area
from safetensors.numpy import load_file, save_file
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline

from galaxysegment._utils.model_file import read_model_file, write_model_file
from galaxysegment._utils.sklearn_state import forest_state, set_forest_state, set_kmeans_state
from galaxysegment.persistence import load, save
from galaxysegment.preprocessing import GaussianSmoother

MODELS = area("models")
N_SEEDS = 3


@pytest.mark.parametrize("seed", range(N_SEEDS))
@pytest.mark.parametrize("kind", MODELS.KINDS)
def test_a_clear_error_or_a_model_that_works(kind, seed, tmp_path):
    rng = np.random.default_rng([seed, zlib.crc32(kind.encode())])
    assert MODELS.check(MODELS.KINDS[kind](rng, tmp_path)) in ("error", "read")


def test_every_flipped_bit_of_a_tensor_is_noticed(tmp_path):
    path = tmp_path / "model.safetensors"
    write_model_file(path, {"a": np.arange(3.0)})
    data = bytearray(path.read_bytes())
    for index in range(len(data) - 24, len(data)):
        path.write_bytes(data[:index] + bytes([data[index] ^ 4]) + data[index + 1 :])
        with pytest.raises(ValueError, match="checksum"):
            read_model_file(path)
    path.write_bytes(data)
    np.testing.assert_array_equal(read_model_file(path)["a"], np.arange(3.0))


def test_every_flipped_bit_of_the_header_is_noticed(tmp_path):
    path = tmp_path / "model.safetensors"
    save(GaussianSmoother(), path)
    data = path.read_bytes()
    for index, bit in itertools.product(range(len(data.rstrip())), range(8)):
        path.write_bytes(data[:index] + bytes([data[index] ^ 1 << bit]) + data[index + 1 :])
        with pytest.raises(ValueError):
            load(path)


def test_the_checksum_knows_names_types_and_shapes(tmp_path):
    path = tmp_path / "model.safetensors"
    write_model_file(path, {"a": np.arange(4, dtype=np.int32), "b": np.ones(4, np.int32)})
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        about = file.metadata()
    tensors = load_file(path)
    first, second = tensors
    for change in (
        {first: tensors[second], second: tensors[first]},
        {**tensors, first: tensors[first].view(np.float32)},
        {**tensors, first: tensors[first].reshape(2, 2)},
        {**tensors, "more": np.zeros(2)},
    ):
        save_file(change, path, metadata=about)
        with pytest.raises(ValueError, match="checksum"):
            read_model_file(path)


def test_files_without_a_checksum_are_read(tmp_path):
    path = tmp_path / "model.safetensors"
    save(GaussianSmoother(fwhm=2.5), path)
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        about = file.metadata()
    del about["checksum"]
    save_file({}, path, metadata=about)
    assert load(path).fwhm == 2.5


@pytest.mark.parametrize("version", ["²", "9" * 5000, "-1", "1.0", ""])
def test_versions_that_are_no_number_are_refused(version, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(
        {}, path, metadata={"format": "galaxysegment", "format_version": version, "tree": "{}"}
    )
    with pytest.raises(ValueError, match="format version") as caught:
        load(path)
    assert len(str(caught.value)) < 500


def forest():
    rng = np.random.default_rng(0)
    return RandomForestClassifier(2, random_state=0).fit(
        rng.normal(size=(50, 2)), rng.integers(2, size=50)
    )


@pytest.mark.parametrize("name", ["left_child", "right_child", "feature"])
@pytest.mark.parametrize(
    "change", [lambda array: np.where(array > 0, np.nan, array), lambda array: array[:, None]]
)
def test_nodes_that_are_no_numbers_are_refused(name, change):
    state = forest_state(forest())
    state["nodes"][name] = change(state["nodes"][name])
    with pytest.raises(ValueError, match=name):
        set_forest_state(RandomForestClassifier(2), state)


@pytest.mark.parametrize("name", ["n_node_samples", "missing_go_to_left"])
def test_counts_of_nodes_that_are_fractions_are_refused(name):
    state = forest_state(forest())
    if name not in state["nodes"]:
        pytest.skip(f"this scikit-learn has no {name}")
    state["nodes"][name] = np.full(state["nodes"][name].shape, np.nan)
    with pytest.raises(ValueError, match=f"The {name} of a tree of the forest has dtype float64"):
        set_forest_state(RandomForestClassifier(2), state)


def test_a_tree_without_nodes_is_refused():
    state = forest_state(forest())
    state["n_nodes"] = np.array([0, state["n_nodes"].sum()])
    with pytest.raises(ValueError, match="no node"):
        set_forest_state(RandomForestClassifier(2), state)


@pytest.mark.parametrize("centres", [np.zeros((3, 1)), np.zeros(2), np.zeros((3, 2), int)])
def test_centres_that_fit_no_features_are_refused(centres):
    with pytest.raises(ValueError, match="centres"):
        set_kmeans_state(KMeans(3), {"cluster_centers_": centres, "n_features_in_": 2})


def test_threads_are_those_of_this_machine(tmp_path):
    model = KMeans(2, n_init=1, random_state=0).fit(np.arange(8.0).reshape(4, 2))
    state = {"cluster_centers_": model.cluster_centers_, "n_features_in_": 2, "_n_threads": 10**9}
    copy = KMeans(2)
    set_kmeans_state(copy, state)
    assert copy._n_threads == model._n_threads
    np.testing.assert_array_equal(copy.predict(np.zeros((1, 2))), model.predict(np.zeros((1, 2))))


def test_a_loaded_pipeline_has_no_cache(tmp_path):
    path = tmp_path / "model.safetensors"
    save(Pipeline([("smooth", GaussianSmoother())], memory=str(tmp_path / "cache")), path)
    assert load(path).memory is None
    tree = read_model_file(path)
    tree["params"]["steps"] = [("smooth", "os.system")]
    write_model_file(path, tree)
    with pytest.raises(ValueError, match="no step of a pipeline"):
        load(path)
