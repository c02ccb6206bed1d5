"""The parts of a release agree: versions, licence, links of the README, commands of the guide."""

import email
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import galaxysegment

ROOT = Path(galaxysegment.__file__).parents[1]
WORKFLOWS = ROOT / ".github" / "workflows"
pytestmark = pytest.mark.skipif(
    not (ROOT / "pyproject.toml").is_file(), reason="these files are in the source tree only"
)


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_citation_names_this_version():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    fields = dict(re.findall(r"^([a-z-]+): (.+)$", citation, re.MULTILINE))
    assert fields["version"] == galaxysegment.__version__
    assert fields["license"] == "BSD-3-Clause"
    assert re.match(r'"?galaxysegment\b', fields["title"])


def test_the_page_on_citing_names_this_version():
    page = (ROOT / "docs" / "guide" / "citing.rst").read_text(encoding="utf-8")
    assert f"version = {{{galaxysegment.__version__}}}," in page


def test_a_released_version_has_a_day():
    if "dev" in galaxysegment.__version__:
        pytest.skip("a development version has no day")
    version = re.escape(galaxysegment.__version__)
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    day = re.search(rf"^## \[{version}\] - (\d{{4}}-\d\d-\d\d)$", changelog, re.MULTILINE)[1]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(rf"^date-released: ['\"]?{day}['\"]?$", citation, re.MULTILINE)


def test_versions_are_semantic():
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", galaxysegment.__version__)


def test_the_changelog_has_this_version_or_says_that_it_is_not_out():
    headings = re.findall(
        r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    expected = "Unreleased" if "dev" in galaxysegment.__version__ else galaxysegment.__version__
    assert headings[0] == expected


def test_the_licence_is_there(project):
    assert project["license"] == "BSD-3-Clause"
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("BSD 3-Clause License")


def test_every_lower_bound_has_a_reason():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    bounds = re.findall(
        r'^ +"[\w-]+>=.*$',
        text[text.index("\ndependencies") : text.index("[project.optional")],
        re.MULTILINE,
    )
    assert bounds
    assert all("#" in bound for bound in bounds)


CONDA_NAMES = {"astropy": "astropy-base", "matplotlib": "matplotlib-base", "torch": "pytorch"}


def test_the_conda_recipe_needs_what_the_package_needs(project):
    recipe = (ROOT / "conda-recipe" / "recipe.yaml").read_text(encoding="utf-8")
    run = recipe[recipe.index("  run:\n") : recipe.index("  run_constraints:")]
    needed = {"python": project["requires-python"].removeprefix(">=")}
    for dependency in project["dependencies"]:
        name, bound = dependency.partition(";")[0].split(">=")
        needed[CONDA_NAMES.get(name, name)] = bound
    assert dict(re.findall(r"- ([\w-]+) >=([\d.]+)", run)) == needed
    assert f'version: "{galaxysegment.__version__}"' in recipe


def test_the_page_on_installing_names_every_dependency(project):
    page = (ROOT / "docs" / "guide" / "install.rst").read_text(encoding="utf-8")
    names = [re.match(r"[\w-]+", text)[0] for text in project["dependencies"]]
    command = page[page.index("A light environment") : page.index("\nconda\n")]
    nets = {"torch", "torchvision", "transformers", "skorch"}
    assert not [name for name in names if name not in page]
    assert not [
        name
        for name in names
        if (name in nets) == bool(re.search(rf"\b{name}\b", command.replace("no torch", "")))
    ]
    assert not [extra for extra in ("simulate", "dask", "onnx") if f"``{extra}``" not in page]


def test_a_release_is_refused_if_versions_disagree():
    workflow = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    patterns = re.findall(r'grep -qx? "(.+)" (\S+)$', workflow, re.MULTILINE)
    assert [file for _, file in patterns] == [
        "galaxysegment/__init__.py",
        "CITATION.cff",
        "CHANGELOG.md",
    ]
    for pattern, file in patterns[:2]:  # the changelog has its heading once the version is out
        line = pattern.replace("$version", galaxysegment.__version__).replace('\\"', '"')
        assert line in (ROOT / file).read_text(encoding="utf-8").splitlines(), file


def test_the_readme_leads_somewhere():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [
        link
        for link in re.findall(r"\]\(([^)]+)\)", readme)
        if "://" not in link and not link.startswith("#")
    ]
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]


@pytest.fixture(scope="module")
def setup_script():
    spec = importlib.util.spec_from_file_location("galaxysegment_setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


README = """Text ([page](docs/a.rst)).

![A picture](docs/a.png)

From a clone, with Python 3.11:

    python -m pip install .

See [the
site](https://a.org) and [below](#below).
"""


def test_the_page_on_the_index_has_no_dead_link(setup_script):
    page = setup_script.page_for_index(README)
    assert page == (
        "Text (page).\n\nWith Python 3.11:\n\n    python -m pip install galaxysegment\n\n"
        "See [the\nsite](https://a.org) and [below](#below).\n"
    )
    page = setup_script.page_for_index(README, "https://host/us/galaxysegment/", "v1.0.0")
    assert "([page](https://host/us/galaxysegment/blob/v1.0.0/docs/a.rst))" in page
    assert "![A picture](https://host/us/galaxysegment/raw/v1.0.0/docs/a.png)" in page
    assert "(https://a.org) and [below](#below)" in page


def test_the_metadata_hold_the_page_of_the_index(tmp_path):
    source = tmp_path / "source"
    (source / "galaxysegment").mkdir(parents=True)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copy(ROOT / "galaxysegment" / "__init__.py", source / "galaxysegment")
    code = "from setuptools import build_meta as b; print(b.prepare_metadata_for_build_wheel('.'))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=source,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (path,) = source.glob("*.dist-info/METADATA")
    metadata = email.message_from_string(path.read_text(encoding="utf-8"))
    assert metadata["Description-Content-Type"] == "text/markdown"
    page = metadata.get_payload()
    assert "pip install galaxysegment" in page and "```python" in page
    assert not [link for link in re.findall(r"\]\(([^)]+)\)", page) if "://" not in link]


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 400


def test_commands_of_the_measurements_exist():
    page = (ROOT / "docs" / "guide" / "measured.rst").read_text(encoding="utf-8")
    scripts = re.findall(r"python (benchmarks/\w+\.py)", page)
    modules = re.findall(r"python -m (benchmarks[\w.]+)", page)
    paths = [ROOT / script for script in scripts]
    paths += [ROOT / module.replace(".", "/") for module in modules]
    assert len(paths) > 8
    assert not [path for path in paths if not (path.exists() or path.with_suffix(".py").exists())]


def test_the_example_of_the_readme_runs():
    example = re.search(
        r"```python\n(.+?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
    ).group(1)
    names = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["labels"].shape == names["y"].shape
    assert names["search"].best_score_ > 0.6


def test_every_python_that_is_promised_is_tested(project):
    promised = [
        text.rpartition(" ")[2] for text in project["classifiers"] if re.search(r":: 3\.\d+$", text)
    ]
    assert f">={promised[0]}" == project["requires-python"]
    tested = {
        name: set(re.findall(r'"(3\.\d+)"', (WORKFLOWS / name).read_text(encoding="utf-8")))
        for name in ("ci.yml", "release.yml")
    }
    assert all(versions == set(promised) for versions in tested.values()), tested
    page = (ROOT / "docs" / "guide" / "install.rst").read_text(encoding="utf-8")
    assert f"You need Python {', '.join(promised[:-1])} or {promised[-1]}." in page


def test_the_tests_have_sep_on_every_python(project):
    """pip leaves sep out on Python 3.14, which has no wheel of it; tests of it do not skip."""
    assert [text for text in project["dependencies"] if re.match(r"sep>=[\d.]+; python", text)]
    assert [text for text in project["optional-dependencies"]["test"] if text.startswith("sep>=")]


def test_workflows_name_actions_by_commit():
    """A tag such as ``v4`` can be moved to other code; the commit of a release cannot."""
    yaml = pytest.importorskip("yaml", reason="it comes with transformers")
    workflows = {path.name: yaml.safe_load(path.read_text()) for path in WORKFLOWS.glob("*.yml")}
    assert set(workflows) == {"ci.yml", "nightly.yml", "release.yml", "weekly.yml"}
    actions = []
    for name, workflow in workflows.items():
        assert workflow["permissions"] == {"contents": "read"}, name
        for job in workflow["jobs"].values():
            assert job["runs-on"] and job["steps"], name
            actions += [step["uses"] for step in job["steps"] if "uses" in step]
    assert len(actions) > 20
    assert not [action for action in actions if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action)]


def test_read_the_docs_finds_the_pages():
    yaml = pytest.importorskip("yaml", reason="it comes with transformers")
    settings = yaml.safe_load((ROOT / ".readthedocs.yaml").read_text())
    assert settings["version"] == 2
    assert (ROOT / settings["sphinx"]["configuration"]).is_file()
    assert settings["sphinx"]["fail_on_warning"]
    assert settings["build"]["tools"]["python"] == "3.13"
