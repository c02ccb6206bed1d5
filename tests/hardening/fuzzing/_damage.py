"""Ways to damage bytes and FITS headers."""

import re

BLOCK = 2880


def flip_bits(rng, data, n_bits, used=None):
    """Flip bits at random places."""
    data = bytearray(data)
    length = used or len(data)
    for index in rng.integers(0, max(length, 1), n_bits if data else 0):
        data[index] ^= 1 << int(rng.integers(8))
    return data


def cut(rng, data, block):
    """Cut the end off, at every kind of place.

    Anywhere, at and beside the borders of blocks, at the very end.
    """
    length = len(data)
    kind = int(rng.integers(4))
    border = int(rng.integers(0, length // block + 1)) * block
    stop = [
        int(rng.integers(0, length)),
        border,
        border + int(rng.integers(-2, 3)),
        length - int(rng.integers(1, 9)),
    ][kind]
    return data[: max(0, stop)]


def splice(rng, data):
    """Take bytes out, or put some in."""
    start = int(rng.integers(0, len(data)))
    length = int(rng.choice([1, 2, 79, 80, 81, 1000, BLOCK]))
    if rng.random() < 0.5:
        return data[:start] + data[start + length :]
    return data[:start] + rng.bytes(length) + data[start:]


def hdu_starts(data):
    """Where the headers of a FITS file begin."""
    blocks = range(0, len(data), BLOCK)
    return [start for start in blocks if data[start : start + 8] in (b"SIMPLE  ", b"XTENSION")]


def cards_of(data):
    """Positions and keywords of all cards with a value."""
    places = []
    for start in hdu_starts(data):
        for position in range(start, len(data), 80):
            keyword = bytes(data[position : position + 8]).rstrip()
            if keyword == b"END":
                break
            if data[position + 8 : position + 10] == b"= " and re.fullmatch(
                rb"[A-Z0-9_-]+", keyword
            ):
                places.append((position, keyword.decode()))
    return places


def card(keyword, value):
    """Text of a card, illegal values included."""
    return f"{keyword:8}= {value!s:>20}".encode()[:80].ljust(80)


def set_card(data, position, keyword, value):
    """Overwrite a card in place."""
    data[position : position + 80] = card(keyword, value)


_WHOLE = [
    0,
    1,
    2,
    3,
    -1,
    7,
    999,
    1000,
    2**15,
    2**31 - 1,
    2**31,
    2**32,
    2**63 - 1,
    2**63,
    -(2**63),
    10**18,
    10**40,
]
_OTHER = [
    "T",
    "F",
    "''",
    "'x'",
    "1E400",
    "NaN",
    "INF",
    "(1,2)",
    "1.5",
    "-0.0",
    "",
    "'''",
    "/",
    "0x10",
    "é",
    "1 2",
    "'T'",
]
_OTHER += [
    "'" + "A" * 67 + "'",
    "'1PE(10)'",
    "'1QB(99999999999)'",
    "'999999999B'",
    "'RICE_1'",
    "'GZIP_2'",
    "'PLIO_1'",
]
_OTHER += [
    "'HCOMPRESS_1'",
    "'NOCOMPRESS'",
    "'SUBTRACTIVE_DITHER_1'",
    "'IMAGE'",
    "'BINTABLE'",
    "'TABLE'",
    "'LABELS'",
]


def absurd_value(rng, whole=None):
    """A value that a card should not have."""
    whole = bool(rng.random() < 0.5) if whole is None else whole
    values = _WHOLE if whole else _OTHER
    value = values[int(rng.integers(len(values)))]
    return value + int(rng.integers(-3, 4)) if whole and rng.random() < 0.3 else value


def random_json(rng, depth=0):
    """Any JSON value."""
    scalars = [
        None,
        True,
        False,
        0,
        1,
        -1,
        2**31,
        2**63,
        10**25,
        1.5,
        -0.0,
        float("nan"),
        float("inf"),
        "",
        "x",
        "1",
    ]
    scalars += ["../x", "\x00", "é" * 3, [], {}, [[]], [0], [1, 2, 3, 4], {"x": 1}, "0" * 50]
    kind = rng.random()
    if depth > 2 or kind < 0.7:
        return scalars[int(rng.integers(len(scalars)))]
    if kind < 0.85:
        return [random_json(rng, depth + 1) for _ in range(int(rng.integers(0, 4)))]
    return {
        str(rng.choice(["id", "name", "x", "counts", "size", "__kind__"])): random_json(
            rng, depth + 1
        )
    }


def all_places(node, place=()):
    """Every place in a tree of lists and dictionaries, as tuples of keys."""
    children = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    for key, child in children:
        yield (*place, key)
        yield from all_places(child, (*place, key))


def damage_tree(rng, tree, n_changes):
    """Replace, delete or repeat random parts of a JSON tree, in place."""
    for _ in range(n_changes):
        places = list(all_places(tree))
        if not places:
            return tree
        *above, key = places[int(rng.integers(len(places)))]
        parent = tree
        for step in above:
            parent = parent[step]
        kind = rng.random()
        if kind < 0.2:
            del parent[key]
        elif kind < 0.3 and isinstance(parent, list):
            parent.append(parent[key])
        else:
            parent[key] = random_json(rng)
    return tree
