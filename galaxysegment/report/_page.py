"""Put picture, sources and program together into an HTML file that needs nothing else."""

import json
from datetime import UTC, datetime
from html import escape
from importlib.resources import files

from .. import __version__


def page_parts(title, document, texts):
    """Yield the text of the page.

    Parameters
    ----------
    title : str
    document : dict
        What the program reads; JSON.
    texts : dict of str to list of str
        Lines by the name under which the program finds them: tiles, outlines and cutouts.
    """
    template, style, script = (
        (files(__package__) / "page" / f"report.{ending}").read_text(encoding="utf-8")
        for ending in ("html", "css", "js")
    )
    before, after = template.split("{{data}}")
    yield before.replace("{{title}}", escape(title)).replace("{{style}}", style)
    document = {**document, "made": _made()}
    # no text of a user may end the element
    data = json.dumps(document, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    yield f'<script type="application/json" id="data">{data}</script>'
    for name, lines in texts.items():
        yield f'\n<script type="text/plain" id="{name}">\n'
        for start in range(0, len(lines), 1000):
            yield "\n".join(lines[start : start + 1000]) + "\n"
        yield "</script>"
    yield after.replace("{{script}}", script)


def _made():
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"Made by galaxysegment {__version__} on {now}."
