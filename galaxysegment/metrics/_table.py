"""Print scores as a table."""

from ..structures import CLASS_NAMES


def class_name(class_id):
    return CLASS_NAMES.get(class_id, f"class {class_id}")


def format_table(columns, rows):
    """Align rows ``{name: values}`` under `columns`; floats get three digits."""
    cells = [["", *columns], *([name, *map(_cell, values)] for name, values in rows.items())]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in cells
    ]
    return "\n".join(lines)


def _cell(value):
    return f"{value:.3f}" if isinstance(value, float) else str(value)
