"""Sphinx configuration: user guide, API reference of public names, gallery that runs."""

import csv
import inspect
import re
import sys
import warnings
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from sphinx.ext.autosummary import Autosummary

import galaxysegment

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

project = "galaxysegment"
copyright = "2026, the galaxysegment developers"
author = "The galaxysegment developers"
release = version = galaxysegment.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.extlinks",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
# Buttons that copy code: the extra `docs` brings them, and the pages are complete without.
if find_spec("sphinx_copybutton"):
    extensions.append("sphinx_copybutton")
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
html_theme = "pydata_sphinx_theme"
html_title = "galaxysegment"
html_favicon = "_static/favicon.svg"
html_theme_options = {
    "logo": {  # docs/make_logo.py draws it
        "image_light": "_static/logo-light.svg",
        "image_dark": "_static/logo-dark.svg",
        "text": "galaxysegment",
        "alt_text": "",
    },
    "show_prev_next": True,
    "navigation_with_keys": False,
    "show_nav_level": 0,  # the sidebar of the API opens module by module
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []},
}
html_sidebars = {"index": [], "guide/contributing": []}
html_static_path = ["_static"]
html_css_files = ["galaxysegment.css"]
html_show_sourcelink = False
exclude_patterns = ["_build", "api/templates"]
templates_path = ["_templates"]
autosummary_generate = True
# Types are in the docstrings, with shapes and units; one parameter a line where a signature is
# long.
autodoc_typehints = "none"
python_maximum_signature_line_length = 88
# The template in _templates/autosummary lists the methods.
numpydoc_show_class_members = False
extlinks = {"doi": ("https://doi.org/%s", "doi:%s")}
# `Instances` is a link wherever it stands: see `find_public_name` below. What is no object stays
# text.
default_role = "py:obj"
toc_object_entries_show_parents = "hide"

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "backreferences_dir": "api/generated/backreferences",
    "doc_module": ("galaxysegment",),
    "abort_on_example_error": True,
    "show_memory": False,
    "remove_config_comments": True,
    "within_subsection_order": "FileNameSortKey",
    "reference_url": {"galaxysegment": None},
    "image_srcset": ["2x"],
    "thumbnail_size": (400, 280),
    "min_reported_time": 1,
    "capture_repr": (),
}
# Examples warn where there is nothing to see in a patch; that is not what they show.
warnings.filterwarnings("ignore", category=UserWarning, module="joblib")

PUBLIC_MODULES = [f"galaxysegment.{name}" for name in galaxysegment._SUBMODULES]


class PlainAutosummary(Autosummary):
    """Tables of names whose summaries keep no marks of footnotes, which are on other pages."""

    def get_items(self, names):
        items = super().get_items(names)
        return [
            (name, signature, re.sub(r"\s*\[R\w+-\w+\]_", "", text), real)
            for name, signature, text, real in items
        ]


def write_api_pages(folder):
    """Write ``api/``: a page for each public module, with every name of its ``__all__``."""
    folder.mkdir(exist_ok=True)
    modules = {name: public_members(import_module(name)) for name in PUBLIC_MODULES}
    modules = {name: without_twins(name, modules) for name in modules}
    modules = {name: members for name, members in modules.items() if members}
    for name, members in modules.items():
        _write(folder / f"{name}.rst", module_page(name, members))
    rows = []
    for name in modules:
        rows += [
            f"   * - :doc:`{name.split('.')[1]} <{name}>`",
            f"     - {first_line(import_module(name))}",
        ]
    table = [".. list-table::", "   :widths: 22 78", "", *rows, ""]
    contents = [".. toctree::", "   :hidden:", "", *(f"   {name}" for name in modules), ""]
    _write(folder / "index.rst", "\n".join([*heading("API reference"), *table, *contents]))


def without_twins(module_name, modules):
    """Leave out the objects that a later module exports too: each is documented once."""
    later = list(modules)[list(modules).index(module_name) + 1 :]
    return {
        name: documented
        for name, documented in modules[module_name].items()
        if not any(name in modules[other] for other in later)
    }


def public_members(module):
    """Names of a module and how they are documented.

    As an object with a docstring, or as a value.
    """
    return {
        name: describes_itself(getattr(module, name)) for name in getattr(module, "__all__", [])
    }


def describes_itself(member):
    return inspect.isclass(member) or inspect.isroutine(member)


def module_page(module_name, members):
    lines = [
        *heading(module_name.split(".")[1]),
        f".. module:: {module_name}",
        "",
        first_line(import_module(module_name)),
        "",
    ]
    objects = [name for name, documented in members.items() if documented]
    if objects:
        table = [".. autosummary::", "   :toctree: generated", "   :nosignatures:", ""]
        lines += [*table, *(f"   {name}" for name in objects), ""]
    for name in sorted(set(members) - set(objects)):
        lines += as_value(name, getattr(import_module(module_name), name))
    return "\n".join(lines)


def as_value(name, value):
    """Lines about a scorer, or about a constant with the comment above it."""
    if callable(value):
        return [
            f".. data:: {name}",
            "",
            "   A scorer, ``scorer(estimator, X, y)``: see `get_scorer`.",
            "",
        ]
    return [f".. autodata:: {name}", *([] if isinstance(value, int) else ["   :no-value:"]), ""]


def first_line(module):
    return (module.__doc__ or "").splitlines()[0]


def heading(text):
    return [text, "=" * len(text), ""]


def write_model_cards(folder):
    """Write a page for each model card that ships; they are Markdown of the plainest kind."""
    folder.mkdir(parents=True, exist_ok=True)
    for card in (Path(galaxysegment.__file__).parent / "segmenters" / "weights").glob("*.md"):
        _write(folder / f"{card.stem}.rst", as_page(card))


def write_changelog(page):
    """Write the changelog as a page of the guide."""
    _write(page, as_page(HERE.parent / "CHANGELOG.md"))


def as_page(path):
    """Return a file of plain Markdown as reStructuredText."""
    text = re.sub(r"\A---\n.*?\n---\n", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"^(#+) \[(.+?)\]", r"\1 \2", text, flags=re.MULTILINE)
    text = re.sub(r"(`+)([^`]+)\1", lambda code: f"``{' '.join(code[2].split())}``", text)
    text = re.sub(r"\[([^\]`]+)\]\((https?:[^)\s]+)\)", r"`\1 <\2>`__", text)
    return "\n".join(restructured(text.splitlines()))


def restructured(lines):
    """Yield lines of Markdown (headings, lists, tables) as reStructuredText."""
    rows = []
    for line in [*lines, ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
            continue
        if rows:
            yield from as_table([rows[0], *rows[2:]])
            rows = []
        match = re.match(r"(#+) (.+)", line)
        yield from [match[2], "=-~"[len(match[1]) - 1] * len(match[2])] if match else [line]


def as_table(rows):
    yield from ("", ".. list-table::", "   :header-rows: 1", "")
    for row in rows:
        yield from (f"   {'*' if not index else ' '} - {cell}" for index, cell in enumerate(row))
    yield ""


def _write(path, text):
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def write_leaderboard(page):
    """Write the leaderboard and its figures from the tables of results."""
    from benchmarks.leaderboard.page import write_page
    from benchmarks.leaderboard.run import RESULTS

    write_page(RESULTS, page)


def write_real_sky(page, pictures):
    """Write a page with the pictures of `benchmarks.real_sky` that a folder holds, or how to make
    them: the images are those of surveys, so the pictures are not in the repository.
    """
    heading = "Real sky: the pictures"
    lines = [heading, "=" * len(heading), ""]
    counts = {}
    if (pictures / "counts.csv").is_file():
        with (pictures / "counts.csv").open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                counts.setdefault(row["field"], []).append(f"{row['program']} {row['sources']}")
    if counts:
        lines += [":doc:`real_sky` says what they show. Click on a picture to enlarge it.", ""]
    else:
        lines += ["This build has no pictures. :doc:`real_sky` has the command to make them.", ""]
    for field, numbers in counts.items():
        source = f"/{pictures.relative_to(HERE).as_posix()}/{field}.png"
        title = field.replace("_", " ")
        lines += [
            title,
            "-" * len(title),
            "",
            f".. figure:: {source}",
            f"   :target: ..{source}",
            "",
        ]
        lines += [f"   Sources: {', '.join(numbers)}.", ""]
    _write(page, "\n".join(lines))


write_api_pages(HERE / "api")
write_model_cards(HERE / "api" / "cards")
write_leaderboard(HERE / "guide" / "leaderboard.rst")
write_changelog(HERE / "guide" / "changelog.rst")
write_real_sky(HERE / "guide" / "real_sky_pictures.rst", HERE / "_static" / "real_sky")


def find_public_name(app, env, node, text):
    """Resolve a bare public name, or one of the root, to where it is defined."""
    target = node.get("reftarget", "").removeprefix("galaxysegment.")
    if node.get("refdomain") != "py" or target not in HOMES:
        return None
    domain = env.domains["py"]
    return domain.resolve_xref(
        env, node["refdoc"], app.builder, "obj", f"{HOMES[target]}.{target}", node, text
    )


HOMES = {
    name: module
    for module in PUBLIC_MODULES
    for name in getattr(import_module(module), "__all__", [])
}


def setup(app):
    """Sphinx calls this."""
    app.add_directive("autosummary", PlainAutosummary, override=True)
    app.connect("missing-reference", find_public_name)
