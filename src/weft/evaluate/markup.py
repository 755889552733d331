"""Markup: foreign text and numbers, made safe and readable for a page."""

from html import escape

ALL = "all"
"""The material that holds all others."""
MISSING = "–"
"""What stands where there is no number."""


def text(value: object) -> str:
    """Return foreign text, safe as content and as an attribute, without control characters.

    Example:
        >>> text('<b onclick="x">')
        '&lt;b onclick=&quot;x&quot;&gt;'
    """
    return escape("".join(c if c.isprintable() else "\ufffd" for c in str(value)), quote=True)


def name(value: object) -> str:
    """Return a foreign name in an element that keeps its direction of writing to itself."""
    return f"<bdi>{text(value)}</bdi>"


def whole(material: str) -> str:
    """Return what a reader is told of a material.

    Example:
        >>> whole("music"), whole(ALL)
        ('music', 'all together')
    """
    return "all together" if material == ALL else material


def number(value: float | int | None, digits: int, *, is_signed: bool = False) -> str:
    """Return a number with a true minus sign, none before 0; a dash for None.

    Example:
        >>> number(-1.25, 1)
        '−1.2'
        >>> number(-0.01, 1)
        '0.0'
    """
    if value is None:
        return MISSING
    shown = f"{value:{'+' if is_signed else ''}.{digits}f}"
    if float(shown) == 0:
        return shown.lstrip("+-")
    return shown.replace("-", "\u2212")


def count(value: float | int | None) -> str:
    """Return a large number in a few letters.

    Example:
        >>> count(12_400_000), count(1024), count(0)
        ('12.4M', '1024', '0')
    """
    if value is None:
        return MISSING
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.3g}{letter}"
    return f"{value:.4g}"
