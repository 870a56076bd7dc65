"""Small pieces of HTML that the pictures share: axis marks, colour bars, tables, foldings. Pure."""

from html import escape
from pathlib import Path

from . import pictures

HERE = Path(__file__).resolve().parent


def element(name: str, inner: str = "", **attributes) -> str:
    """One element around finished HTML; `kind` is its class, `data_seek` becomes data-seek, values are escaped."""
    names = {"kind": "class"}
    pairs = (f' {names.get(key, key.replace("_", "-"))}="{escape(str(value))}"' for key, value in attributes.items())
    return f"<{name}{''.join(pairs)}>{inner}</{name}>"


def mark(top: float, words: str, kind: str = "") -> str:
    """A label on a vertical axis, `top` in percent from above."""
    return element("span", words, kind=f"tl-mark {kind}".strip(), style=f"top:{top:.1f}%")


def tick(left: float, words: str) -> str:
    """A label on a horizontal axis, `left` in percent."""
    return element("span", words, kind="tl-tick", style=f"left:{left:.3f}%")


def note(words: str) -> str:
    """A remark beside a picture."""
    return element("span", words, kind="tl-note")


def picture(inner: str, kind: str = "", label: str = "") -> str:
    """An SVG of 1000 x 1000 that is stretched over its place; `label` is its text alternative."""
    said = {"role": "img", "aria_label": label} if label else {"aria_hidden": "true"}
    return element("svg", inner, kind=kind, viewBox="0 0 1000 1000", preserveAspectRatio="none", **said)


def colour_bar(table: str, high: str, low: str, middle: str = "") -> str:
    """A strip of a colour table with its numbers."""
    strip = f'<img alt="" src="{pictures.png_uri(pictures.bar_png(table))}">'
    numbers = "".join(element("span", words) for words in (high, middle, low) if words)
    return element("span", strip + element("span", numbers, kind="bar-text"), kind="bar")


def table(heads, rows, kind: str = "", caption: str = "") -> str:
    """A table that scrolls inside itself; `rows` of finished cells, the first of each is its head."""
    top = "".join(element("th", head, scope="col") for head in heads)
    body = "".join(
        element("tr", element("th", first, scope="row") + "".join(element("td", cell) for cell in rest))
        for first, *rest in rows
    )
    words = element("caption", caption) if caption else ""
    inner = words + element("thead", element("tr", top)) + element("tbody", body)
    return element("div", element("table", inner, kind=kind), kind="scroll")


def folded(title: str, inner: str) -> str:
    """Something folded away behind its title."""
    return element("details", element("summary", title) + inner)


def styles(*names: str) -> str:
    """Style sheets of this package, one after the other."""
    return "\n".join((HERE / name).read_text(encoding="utf-8") for name in names)


def page(title: str, inner: str, style: str = "", script: str = "", head: str = "") -> str:
    """A whole page that needs nothing else, light or dark as the reader likes it; `title` is text, the rest finished."""
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    top = f"<head>{meta}<title>{escape(title)}</title><style>{styles('page.css')}{style}</style>{head}</head>"
    return f"<!doctype html><html lang=en>{top}<body>{inner}{element('script', script) if script else ''}</body></html>\n"
