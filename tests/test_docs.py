"""The documentation is complete and its code runs, the steps of contributing included."""

import ast
import doctest
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import textwrap
from importlib import import_module
from pathlib import Path

import pytest

import galaxysegment
from galaxysegment.datasets import load_sample_field

ROOT = Path(galaxysegment.__file__).parents[1]
DOCS, EXAMPLES = ROOT / "docs", ROOT / "examples"
pytestmark = pytest.mark.skipif(
    not DOCS.is_dir(), reason="the documentation is in the source tree only"
)

GUIDE = sorted((DOCS / "guide").glob("*.rst"))
GALLERY = sorted(EXAMPLES.glob("*.py"))
_NUMBER = re.compile(r"(?<![\w.])-?\d+\.\d+(?![\w.])")
_TOLERANCE = 0.05  # nets round differently from one processor to the next


class AboutEqual(doctest.OutputChecker):
    """Numbers with a decimal point may differ a little."""

    def check_output(self, want, got, optionflags):
        wanted, printed = _NUMBER.findall(want), _NUMBER.findall(got)
        if len(wanted) != len(printed):
            return super().check_output(want, got, optionflags)
        near = all(
            abs(float(a) - float(b)) <= _TOLERANCE for a, b in zip(wanted, printed, strict=True)
        )
        return near and super().check_output(
            _NUMBER.sub("#", want), _NUMBER.sub("#", got), optionflags
        )


def test_numbers_may_differ_a_little_and_nothing_else():
    flags = doctest.NORMALIZE_WHITESPACE
    assert AboutEqual().check_output("IoU 0.80, 3 sources\n", "IoU 0.83,  3 sources\n", flags)
    assert not AboutEqual().check_output("IoU 0.80, 3 sources\n", "IoU 0.90, 3 sources\n", flags)
    assert not AboutEqual().check_output("IoU 0.80, 3 sources\n", "IoU 0.80, 4 sources\n", flags)


# The code of the page on contributing needs the file that it tells to write: see below.
@pytest.mark.filterwarnings("ignore::galaxysegment.NoSourcesWarning")
@pytest.mark.parametrize(
    "page", [page for page in GUIDE if page.stem != "contributing"], ids=lambda page: page.stem
)
def test_the_code_of_the_guide_runs(page, tmp_path, monkeypatch):
    if page.stem == "clusters":
        pytest.importorskip("dask.distributed", reason="dask is not installed")
    monkeypatch.chdir(tmp_path)
    test = doctest.DocTestParser().get_doctest(
        page.read_text(encoding="utf-8"), {}, page.stem, str(page), 0
    )
    said = []
    runner = doctest.DocTestRunner(
        AboutEqual(), optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    )
    runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)


def unlisted(guide, *indices):
    """Pages of a folder that neither its index nor these files name.

    The pages of the leaderboard are generated. Its first page has to list the others.
    """
    index = "".join(path.read_text(encoding="utf-8") for path in (guide / "index.rst", *indices))
    missing = []
    for page in sorted(guide.glob("*.rst")):
        part = page.stem.startswith("leaderboard_")
        listing = (guide / "leaderboard.rst").read_text(encoding="utf-8") if part else index
        if page.stem != "index" and not re.search(rf"\b{page.stem}\b", listing):
            missing.append(page.stem)
    return missing


def test_the_guide_lists_every_page():
    assert not unlisted(DOCS / "guide", DOCS / "index.rst")


def test_an_unlisted_page_is_noticed(tmp_path):
    for name in ("index", "files", "forgotten", "leaderboard", "leaderboard_a", "leaderboard_x"):
        (tmp_path / f"{name}.rst").write_text("files, leaderboard, leaderboard_x")
    (tmp_path / "leaderboard.rst").write_text("leaderboard_a")
    assert unlisted(tmp_path) == ["forgotten", "leaderboard_x"]


def test_every_benchmark_is_listed():
    folder = ROOT / "benchmarks"
    listed = (folder / "README.md").read_text(encoding="utf-8")
    missing = [path.name for path in folder.glob("*.py") if f"`{path.name}`" not in listed]
    assert not missing, f"say in benchmarks/README.md what they do: {', '.join(missing)}"


@pytest.fixture(scope="module")
def configuration():
    pytest.importorskip("sphinx", reason="Sphinx is not installed: it comes with the extra 'docs'")
    spec = importlib.util.spec_from_file_location("docs_conf", DOCS / "conf.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def public_names():
    for module_name in galaxysegment._SUBMODULES:
        for name in import_module(f"galaxysegment.{module_name}").__all__:
            yield f"galaxysegment.{module_name}", name


def test_the_reference_has_every_public_name_once(configuration, tmp_path):
    configuration.write_api_pages(tmp_path / "api")
    pages = {
        path.stem: path.read_text(encoding="utf-8") for path in (tmp_path / "api").glob("*.rst")
    }
    for module_name, name in public_names():
        entry = re.compile(rf"^ +{name}$|^\.\. (auto)?data:: {name}$", re.MULTILINE)
        home = configuration.HOMES[name]
        assert [page for page, text in pages.items() if entry.search(text)] == [home], name
        assert re.search(rf"^ +{module_name}$", pages["index"], re.MULTILINE)


def test_the_root_has_nothing_that_is_documented_nowhere():
    names = {*galaxysegment._SUBMODULES, *galaxysegment._NAMES, *galaxysegment.segmenters.__all__}
    assert set(galaxysegment.__all__) == names


def test_programs_and_segmenters_agree_as_the_guide_says():
    pytest.importorskip("sep", reason="sep is not installed")
    path = ROOT / "benchmarks" / "compare_programs.py"
    spec = importlib.util.spec_from_file_location("compare_programs", path)
    comparison = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(comparison)
    maps = comparison.make_maps(load_sample_field())
    assert (maps["sep"] == maps["SEPSegmenter"]).all()
    assert (maps["photutils"] == maps["PhotutilsSegmenter"]).all()
    table = (DOCS / "guide" / "coming_from.rst").read_text(encoding="utf-8")
    for name in ("SEPSegmenter", "PhotutilsSegmenter"):
        assert f"   * - `{name}`\n     - {maps[name].max()}\n" in table


def test_markdown_becomes_a_page(configuration, tmp_path):
    path = tmp_path / "log.md"
    path.write_text(
        "# Log\n\n## [0.1.0] - today\n\n- Add `a_b` and ``c``, see [the\n  page](https://a.org).\n"
        "- Add `one\n  command`.\n\n| name | value |\n|---|---|\n| x | 1 |\n",
        encoding="utf-8",
    )
    page = configuration.as_page(path)
    assert "Log\n===\n" in page and "0.1.0 - today\n-------------\n" in page
    assert "- Add ``a_b`` and ``c``, see `the\n  page <https://a.org>`__." in page
    assert "- Add ``one command``." in page
    assert "   * - name\n     - value\n   * - x\n     - 1\n" in page


def test_the_changelog_is_a_page_without_warnings(configuration):
    docutils = pytest.importorskip("docutils.core", reason="it comes with Sphinx")
    page = configuration.as_page(ROOT / "CHANGELOG.md")
    docutils.publish_doctree(page, settings_overrides={"halt_level": 2, "report_level": 5})


def test_a_build_without_pictures_of_real_sky_says_so(configuration, tmp_path):
    pictures, page = configuration.HERE / "_static" / "no_such_folder", tmp_path / "page.rst"
    configuration.write_real_sky(page, pictures)
    assert "This build has no pictures." in page.read_text(encoding="utf-8")


def test_a_build_with_pictures_of_real_sky_shows_them(configuration, tmp_path, monkeypatch):
    from benchmarks.real_sky import write_counts

    monkeypatch.setattr(configuration, "HERE", tmp_path)
    pictures = tmp_path / "_static" / "real_sky"
    pictures.mkdir(parents=True)
    rows = [("hsc_spiral", "photutils", 12, 1, 0.2), ("hsc_spiral", "sep", 11, 1, 0.2)]
    write_counts(pictures / "counts.csv", rows)
    configuration.write_real_sky(tmp_path / "page.rst", pictures)
    text = (tmp_path / "page.rst").read_text(encoding="utf-8")
    assert text.count(".. figure:: /_static/real_sky/hsc_spiral.png") == 1
    assert "hsc spiral\n----------\n" in text and "Sources: photutils 12, sep 11." in text


def test_the_examples_are_numbered():
    numbers = [re.fullmatch(r"plot_(\d\d)_\w+", example.stem) for example in GALLERY]
    assert [int(match.group(1)) for match in numbers if match] == list(range(1, len(GALLERY) + 1))


@pytest.mark.parametrize("example", GALLERY, ids=lambda path: path.stem)
def test_an_example_shows_one_picture(example):
    tree = ast.parse(example.read_text(encoding="utf-8"))
    made = [
        ast.unparse(node.func)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and re.fullmatch(r"plt\.(figure|subplots|subplot_mosaic)", ast.unparse(node.func))
    ]
    displays = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and "SegmentationDisplay." in ast.unparse(node.func)
        and "axes" not in {keyword.arg for keyword in node.keywords}
    ]
    assert len(made) + len(displays) == 1
    title = ast.get_docstring(tree).splitlines()
    assert title[1] == "=" * len(title[0])


def code_blocks(page):
    """Yield caption and code of the Python blocks of a page."""
    text = (DOCS / "guide" / page).read_text(encoding="utf-8")
    for match in re.finditer(
        r"\.\. code-block:: python\n(?: +:caption: (.+)\n)?\n((?:(?: {3}.*)?\n)+)", text
    ):
        yield match.group(1), textwrap.dedent(match.group(2)).strip() + "\n"


def test_contributing_by_doing_what_the_page_says(tmp_path):
    (caption, code), (_, line) = code_blocks("contributing.rst")
    shutil.copytree(
        ROOT / "galaxysegment",
        tmp_path / "galaxysegment",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    (tmp_path / caption).write_text(code, encoding="utf-8")
    init = tmp_path / "galaxysegment" / "segmenters" / "__init__.pyi"
    init.write_text(f"{init.read_text(encoding='utf-8')}{line}", encoding="utf-8")
    script = tmp_path / "do.py"
    script.write_text(
        textwrap.dedent(
            """
            import doctest, warnings
            import galaxysegment.segmenters._threshold as module
            from galaxysegment import ThresholdSegmenter
            from galaxysegment._utils.discovery import all_estimators
            from galaxysegment.cli import main
            from galaxysegment.datasets import load_sample_field
            from galaxysegment.persistence import load, save
            from galaxysegment.testing import estimator_checks, expected_failed_checks
            from sklearn.utils.estimator_checks import check_estimator

            assert doctest.testmod(module) == (0, 5)
            assert "ThresholdSegmenter" in dict(all_estimators("segmenter"))
            for name, check in estimator_checks(ThresholdSegmenter()):
                check()
            segmenter = ThresholdSegmenter()
            failing = expected_failed_checks(segmenter)
            check_estimator(segmenter, expected_failed_checks=failing, on_skip=None)
            save(ThresholdSegmenter(level=3.5), "model.safetensors")
            assert load("model.safetensors").level == 3.5
            load_sample_field().write("image.fits")
            arguments = ["--method", "threshold", "--set", "level=100"]
            assert main(["segment", "image.fits", *arguments]) == 0
            print("done")
            """
        )
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, script.name],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.endswith("done\n"), done.stdout + done.stderr
    assert list(tmp_path.glob("image_seg*.fits"))
