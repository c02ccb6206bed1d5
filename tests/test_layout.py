"""The shape of the package: who may import whom, what stays lazy, and that names lead somewhere."""

import ast
import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import galaxysegment

PACKAGE = Path(galaxysegment.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# A module imports at its top only from rows above its own, or from its own subpackage.
LAYERS = [
    {"exceptions"},
    {"_utils"},
    {"structures"},
    {"detection"},
    {"io", "metrics", "coco"},
    {"datasets", "catalog", "display"},
    {"base", "report"},
    {"preprocessing", "nets"},
    {"segmenters", "separation"},
    {"persistence", "export"},
    {"mosaic"},
    {"completeness"},
    {"testing", "cli"},
    {"__main__"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
# Slow to import, so only inside functions; torch and its kin may stand at the top of files in
# nets/.
HEAVY = {"photutils", "matplotlib", "galsim", "numba", "pycocotools", "sep", "mahotas", "dask"}
TORCH = {"torch", "torchvision", "transformers", "skorch"}


def top_imports(path):
    """Yield (level, module) of the imports outside functions."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from ((node.level, name) for name in names)


def room(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def target_room(path, level, module):
    """The top-level module of the package that a relative import leads to.

    None where it stays inside.
    """
    parents = path.relative_to(PACKAGE).parts[:-1]
    inside = parents[: len(parents) - (level - 1)]
    return inside[0] if inside else module.split(".")[0]


@pytest.mark.parametrize(
    "path", [file for file in FILES if file.parent != PACKAGE or file.stem != "__init__"], ids=str
)
def test_lower_never_imports_higher(path):
    for level, module in top_imports(path):
        assert not module.startswith("galaxysegment"), f"{path.name}: import {module} relatively"
        if level:
            target = target_room(path, level, module)
            is_room = (PACKAGE / target).is_dir() or (PACKAGE / f"{target}.py").is_file()
            if is_room and target != room(path):
                assert RANK[target] < RANK[room(path)], (
                    f"{path.name} of {room(path)} imports {target}"
                )


# These hold numba kernels: modules of their own that methods import when they run.
KERNELS = {"compiled", "_haralick", "_template_kernels", "_overlap_kernels", "_aperture_kernels"}
KERNELS |= {"_outline_kernels", "_morphology_kernels", "_sum_kernels", "_read_kernels"}
KERNELS |= {"_deblend_kernels", "_strip_kernels", "_map_kernels", "_box_kernels"}
KERNELS |= {"_galaxy_hosts", "_galaxy_judge", "_galaxy_parts", "_cleaning_kernels"}

# Kernels that every detection needs. Functions of numpy that numba compiles for long are left out.
DETECTION_KERNELS = ["_strip", "_map", "_box", "_seam", "_deblend", "_flood", "_cleaning"]
DETECTION_KERNELS = [f"{name}_kernels" for name in DETECTION_KERNELS]
DETECTION_KERNELS += ["_galaxy_hosts", "_galaxy_judge", "_galaxy_parts"]
SLOW_TO_COMPILE = {"sort", "argsort", "unique", "searchsorted", "median", "quantile", "cumsum"}
SLOW_TO_COMPILE |= {"flatnonzero", "arange", "array", "full", "ones", "empty_like", "astype"}
SLOW_TO_COMPILE |= {"copy", "mean", "sum", "min", "max", "any", "all", "concatenate"}
SLOW_TO_COMPILE |= {"argmin", "argmax", "minimum", "maximum"}


@pytest.mark.parametrize("name", DETECTION_KERNELS)
def test_kernels_of_detection_compile_fast(name):
    path = PACKAGE / "detection" / f"{name}.py"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr not in SLOW_TO_COMPILE, f"{path.name}:{node.lineno}"


def decorators_of(path):
    """Yield each compiled function of a file, and the name of its options."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        for call in getattr(node, "decorator_list", []):
            if isinstance(call, ast.Call) and call.keywords:
                yield node, call.keywords[0].value.id


@pytest.mark.parametrize("name", DETECTION_KERNELS)
def test_kernels_that_count_no_references_make_no_array(name):
    # An array that such a kernel makes, or gets from another one, is never given back.
    files = [PACKAGE / "detection" / f"{kernels}.py" for kernels in DETECTION_KERNELS]
    options = {node.name: kind for path in files for node, kind in decorators_of(path)}
    for node, kind in decorators_of(PACKAGE / "detection" / f"{name}.py"):
        if kind != "BARE":
            continue
        for call in (call for call in ast.walk(node) if isinstance(call, ast.Call)):
            called = call.func.id if isinstance(call.func, ast.Name) else call.func.attr
            assert called not in {"empty", "zeros"}, f"{node.name}: {called}"
            assert options.get(called, "BARE") == "BARE", f"{node.name} calls {called}"


@pytest.mark.parametrize("name", [name for name in DETECTION_KERNELS if "galaxy" in name])
def test_kernels_of_galaxies_assign_to_no_slice(name):
    """If shapes could differ, numba compiles an error message with numbers in it."""
    path = PACKAGE / "detection" / f"{name}.py"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            slices = [part for part in ast.walk(node.slice) if isinstance(part, ast.Slice)]
            assert not slices, f"{path.name}:{node.lineno}"


@pytest.mark.parametrize("path", [file for file in FILES if file.stem not in KERNELS], ids=str)
def test_heavy_packages_are_imported_inside_functions(path):
    heavy = HEAVY if room(path) == "nets" else HEAVY | TORCH
    heavy_imports = {
        module.split(".")[0] for level, module in top_imports(path) if not level
    } & heavy
    assert not heavy_imports, f"{path.name} imports {heavy_imports} at its top"


def modules_after(statement):
    code = f"import sys, json; {statement}; print(json.dumps(sorted(sys.modules)))"
    return set(json.loads(subprocess.check_output([sys.executable, "-c", code], text=True)))


@pytest.mark.parametrize(
    "statement",
    [
        "import galaxysegment",
        "from galaxysegment import PhotutilsSegmenter, KMeansSegmenter",
        "import galaxysegment.cli, galaxysegment.display, galaxysegment.io, galaxysegment.metrics",
    ],
)
def test_importing_stays_light(statement):
    loaded = modules_after(statement)
    assert not loaded & {
        "torch",
        "photutils",
        "transformers",
        "matplotlib",
        "torchvision",
        "skorch",
        "numba",
    }


def test_no_garbage_is_sought_while_a_segmenter_is_imported():
    passes = "import gc, numpy; before = gc.get_stats()[2]['collections']; {}; print("
    passes += "gc.get_stats()[2]['collections'] - before, gc.isenabled())"
    for statement in ("from galaxysegment import PhotutilsSegmenter", "import galaxysegment.io"):
        code = passes.format(statement)
        output = subprocess.check_output([sys.executable, "-c", code], text=True)
        assert output.split() == ["0", "True"]


def test_a_segmenter_starts_without_its_neighbours():
    unneeded = {"sklearn.ensemble", "sklearn.metrics", "sklearn.pipeline", "scipy.stats"}
    unneeded |= {"astropy.wcs", "astropy.table", "astropy.nddata"}
    unneeded |= {"scipy.special", "scipy.spatial", "numpy.f2py", "numpy.testing", "narwhals"}
    unneeded |= {"asyncio"}
    for first in ("", "import galaxysegment.io; "):
        assert not modules_after(f"{first}from galaxysegment import PhotutilsSegmenter") & unneeded


@pytest.fixture
def alone(monkeypatch):
    """Hide the threads of pytest's plugins."""
    monkeypatch.setattr(threading, "active_count", lambda: 1)


@pytest.mark.usefixtures("alone")
def test_a_module_that_was_put_off_is_there_when_asked_for():
    from galaxysegment._utils.later import put_off

    sys.modules.pop("colorsys", None)
    with put_off("colorsys"):
        import colorsys as stand_in

        assert sys.modules["colorsys"] is stand_in
        assert not hasattr(stand_in, "__wrapped__")
    assert "colorsys" not in sys.modules
    assert stand_in.rgb_to_hsv(1, 0, 0) == (0, 1, 1)
    assert sys.modules["colorsys"] is not stand_in
    del sys.modules["colorsys"]
    with put_off("colorsys"):  # a name is taken from the module itself
        from colorsys import rgb_to_hsv
    assert rgb_to_hsv is sys.modules["colorsys"].rgb_to_hsv
    del sys.modules["colorsys"]
    names = {}
    with put_off("colorsys"):
        exec("from colorsys import *", names)
    assert names["rgb_to_hsv"] is sys.modules["colorsys"].rgb_to_hsv


@pytest.mark.usefixtures("alone")
def test_a_package_that_was_put_off_is_there_when_asked_for(monkeypatch):
    from galaxysegment._utils.later import put_off

    names = ["wsgiref", "wsgiref.util"]
    for name in [name for name in sys.modules if name.split(".")[0] == "wsgiref"]:
        monkeypatch.delitem(sys.modules, name)
    with put_off(*names):
        import wsgiref.util as stand_in

        assert sys.modules["wsgiref.util"] is stand_in
    assert not set(names) & set(sys.modules)
    assert stand_in.request_uri.__module__ == "wsgiref.util"
    assert sys.modules["wsgiref"].util is sys.modules["wsgiref.util"] is not stand_in
    del sys.modules["wsgiref.util"], sys.modules["wsgiref"].util
    with put_off(*names):  # its package is there
        import wsgiref.util as other

        assert sys.modules["wsgiref"].util is other
    assert not hasattr(sys.modules["wsgiref"], "util")
    assert other.request_uri.__module__ == "wsgiref.util"


def test_modules_that_were_put_off_are_found_as_attributes():
    names = "numpy.f2py.get_include", "numpy.testing.assert_equal", "scipy.special.gamma"
    statement = "import galaxysegment.segmenters._photutils, numpy, scipy, sklearn.utils.validation"
    statement += f"; {', '.join(names)}, sklearn.utils.validation.nw.from_native"
    assert {"numpy.f2py", "numpy.testing", "scipy.special", "narwhals"} <= modules_after(statement)


def test_nothing_is_put_off_beside_another_thread():
    from galaxysegment._utils.later import put_off

    sys.modules.pop("colorsys", None)
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        with put_off("colorsys"):
            assert "colorsys" not in sys.modules
    finally:
        done.set()
        thread.join()


@pytest.mark.usefixtures("alone")
def test_a_failed_import_leaves_no_stand_in():
    from galaxysegment._utils.later import put_off

    sys.modules.pop("colorsys", None)
    with pytest.raises(ImportError, match="nothing_such"), put_off("colorsys"):
        import nothing_such  # noqa: F401
    assert "colorsys" not in sys.modules


def test_a_mosaic_in_a_file_starts_without_sky_positions(tmp_path):
    image = str(tmp_path / "image.fits")
    pixels = np.random.default_rng(0).normal(size=(60, 60)).astype("f4")
    pixels[20:30, 20:30] += 30
    fits.writeto(image, pixels, fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}))
    run = f"segment_mosaic(PhotutilsSegmenter(deblend=False), {image!r}, progress=False)"
    start = "from galaxysegment import PhotutilsSegmenter"
    start += "; from galaxysegment.mosaic import segment_mosaic"
    unneeded = {"astropy.wcs", "astropy.coordinates", "numba", "photutils"}
    unneeded |= {"scipy.stats", "sklearn.metrics", "sklearn.pipeline", "galaxysegment.separation"}
    assert not modules_after(f"{start}; {run}") & unneeded


@pytest.mark.parametrize("method", ["photutils", "sep"])
def test_a_small_image_needs_few_modules_and_leaves_no_garbage(tmp_path, method):
    image = str(tmp_path / "image.fits")
    pixels = np.random.default_rng(0).normal(size=(100, 100)).astype("f4")
    y, x = np.mgrid[:100, :100]
    for place in (35, 50):
        pixels += 60 * np.exp(-((y - 50) ** 2 + (x - place) ** 2) / 60)
    fits.writeto(image, pixels)
    run = "import gc, galaxysegment.cli as cli; before = gc.get_stats()[2]['collections']"
    run += f"; cli.main(['segment', {image!r}, '--method', {method!r}])"
    run += "; assert gc.get_stats()[2]['collections'] == before; assert gc.isenabled()"
    unneeded = {"photutils", "sklearn.metrics", "sklearn.pipeline", "scipy.stats", "narwhals"}
    unneeded |= {"astropy.wcs", "astropy.table", "astropy.convolution", "numpy.f2py"}
    unneeded |= {"galaxysegment.mosaic", "galaxysegment.catalog", "galaxysegment.nets"}
    if method == "sep":
        unneeded.add("numba")
    code = f"import sys, json; {run}; print(json.dumps(sorted(sys.modules)))"
    output = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert not set(json.loads(output.splitlines()[-1])) & unneeded


def test_help_loads_no_estimator():
    statement = "import galaxysegment.cli as cli; cli._parser()"
    assert not modules_after(statement) & {"sklearn", "scipy", "astropy"}


def test_the_root_loads_nothing():
    assert "numpy" not in modules_after("import galaxysegment")


def test_other_names_are_no_attributes():
    with pytest.raises(AttributeError, match="'galaxysegment' has no attribute 'no_such'"):
        _ = galaxysegment.no_such
    assert "no_such" not in dir(galaxysegment) and "UNetSegmenter" in dir(galaxysegment)


def test_every_public_name_leads_somewhere():
    for name in galaxysegment.__all__:
        assert getattr(galaxysegment, name) is not None
        assert name in dir(galaxysegment)
    with pytest.raises(AttributeError, match="nothing_such"):
        galaxysegment.nothing_such  # noqa: B018


def lines_of(node):
    return node.end_lineno - node.lineno + 1


def docstring_lines(tree):
    """Count the lines of all docstrings of a module."""
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return sum(
        lines_of(node.body[0])
        for node in ast.walk(tree)
        if isinstance(node, owners) and ast.get_docstring(node) is not None
    )


# The benchmarks are there in the source tree only.
@pytest.mark.parametrize(
    "path", [*FILES, *sorted((PACKAGE.parent / "benchmarks").rglob("*.py"))], ids=str
)
def test_files_stay_readable(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    code = len([line for line in text.splitlines() if line.strip()]) - docstring_lines(tree)
    assert code <= 400, f"{path.name} has {code} lines of code: is it one idea?"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert length <= 60, f"{path.name}:{node.name} is {length} lines long"


# Names that say nothing about the thing they hold.
EMPTY_NAMES = {"one", "found"}
ROOT = PACKAGE.parent


def empty_names(path):
    """Yield the variables, arguments and functions of a file whose names say nothing."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        is_variable = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        name = node.id if is_variable else node.name if is_function else None
        name = node.arg if isinstance(node, ast.arg) else name
        if name in EMPTY_NAMES:
            yield f"{path.name}:{node.lineno}: {name}"


@pytest.mark.parametrize("folder", ["galaxysegment", "tests", "benchmarks", "examples", "docs"])
def test_names_say_what_they_hold(folder):
    if not (ROOT / folder).is_dir():
        pytest.skip(f"{folder} is not part of an installed package")
    empty = [name for path in (ROOT / folder).rglob("*.py") for name in empty_names(path)]
    assert not empty, f"name the thing instead: {', '.join(empty)}"


# Folders of tests that are about no one part of the package.
OF_THE_WHOLE = {"embedding", "hardening", "leaderboard", "typing", "__pycache__"}


def test_tests_mirror_the_package():
    tests = Path(__file__).parent
    for folder in tests.iterdir():
        if folder.is_dir() and folder.name not in OF_THE_WHOLE:
            assert (PACKAGE / folder.name).is_dir(), (
                f"tests/{folder.name} tests nothing of the package"
            )
