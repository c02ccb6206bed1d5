"""Draw the logo: two galaxies that overlap, as a label map of square pixels.

    python docs/make_logo.py

It writes ``logo-light.svg``, ``logo-dark.svg`` (for the two themes) and ``favicon.svg`` into
``docs/_static``.
"""

import math
from pathlib import Path

SIDE = 64  # units of the drawing
# Centre in pixels, semi-axes in pixels, angle in degrees.
LARGE = (5.7, 7.6, 6.2, 3.2, -38)
SMALL = (9.6, 3.4, 3.2, 2.4, 35)
COLOURS = {
    "light": ("#e07b39", "#1f6f9f"),
    "dark": ("#f2a25c", "#5cb8e6"),
}


def distance(galaxy, column, row):
    """Distance of a pixel from the centre of an ellipse; 1 on its edge."""
    x0, y0, major, minor, angle = galaxy
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    dx, dy = column + 0.5 - x0, row + 0.5 - y0
    return math.hypot((dx * cosine + dy * sine) / major, (dy * cosine - dx * sine) / minor)


def draw(colours, n_pixels):
    """Return the SVG of a label map of `n_pixels` pixels a side."""
    size, scale = SIDE / n_pixels, 13 / n_pixels
    gap = size * 0.1
    shapes = []
    for row in range(n_pixels):
        for column in range(n_pixels):
            x, y = column * scale + (scale - 1) / 2, row * scale + (scale - 1) / 2
            far = [distance(galaxy, x, y) for galaxy in (LARGE, SMALL)]
            if min(far) > 1:
                continue
            colour = colours[far.index(min(far))]
            opacity = 1 - 0.55 * min(far) ** 1.5  # bright cores, faint outskirts
            shapes.append(
                f'<rect x="{column * size + gap / 2:.2f}" y="{row * size + gap / 2:.2f}" '
                f'width="{size - gap:.2f}" height="{size - gap:.2f}" rx="{size * 0.12:.2f}" '
                f'fill="{colour}" fill-opacity="{opacity:.2f}"/>'
            )
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{SIDE}" height="{SIDE}" '
        f'viewBox="0 0 {SIDE} {SIDE}">'
    )
    return "\n".join([head, "<title>galaxysegment</title>", *shapes, "</svg>", ""])


def main():
    folder = Path(__file__).parent / "_static"
    for theme, colours in COLOURS.items():
        (folder / f"logo-{theme}.svg").write_text(draw(colours, 13), encoding="utf-8")
    (folder / "favicon.svg").write_text(draw(COLOURS["light"], 9), encoding="utf-8")


if __name__ == "__main__":
    main()
