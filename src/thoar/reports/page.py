"""One HTML file: headings, tables, figures and remarks, everything in it escaped, nothing fetched or run.

Blocks are made by the functions here and are :class:`Markup`; plain text anywhere becomes text on the page,
whatever signs it holds. The page allows itself no script and no address but pictures beside it.
"""

import base64
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Literal
from urllib.parse import quote

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' file: data:"
"""Content security policy. Inline styles are what matplotlib's SVG is made of; ``file:`` because to a page
opened from a disk its own folder is not ``'self'``."""

GENERATOR = '<meta name="generator" content="thoar">'
"""By which our own pages are known again."""

Severity = Literal["note", "warning", "error"]


class Markup(str):
    """HTML that this room made; any other string is text, and is escaped."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading and what stands under it.

    Attributes:
        title: of the heading, and of the table of contents.
        blocks: in order.
    """

    title: str
    blocks: tuple[Markup, ...]


def page(title: str, sections: Sequence[Section], *, opening: Sequence[Markup] = ()) -> str:
    """Return a whole page.

    Args:
        title: of the window and the page.
        sections: in order; with more than two of them the page begins with a table of contents.
        opening: blocks between the title and the first section.
    """
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">',
            '<meta name="viewport" content="width=device-width">',
            GENERATOR,
            f"<title>{escape(title)}</title>",
            f"<style>{_style()}</style></head><body>",
            f"<h1>{escape(title)}</h1>",
            *opening,
            *_contents(sections),
            *(_section(number, section) for number, section in enumerate(sections, 1)),
            "</body></html>",
            "",
        ]
    )


def paragraph(text: str) -> Markup:
    """Return a paragraph of text."""
    return Markup(f"<p>{_markup(text)}</p>")


def notice(text: str, severity: Severity = "note") -> Markup:
    """Return a sentence that stands out; its severity is said in words too, for paper and for all eyes."""
    said = "" if severity == "note" else f"<strong>{severity}:</strong> "
    return Markup(f'<p class="notice {severity}">{said}{_markup(text)}</p>')


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: Collection[int] = (),
    caption: str = "",
) -> Markup:
    """Return a table whose first column names its rows.

    Args:
        head: of the columns.
        rows: cells, as many as the head has.
        numbers: columns that are set flush right.
        caption: above it.
    """
    kinds = ['class="number"' if column in numbers else "" for column in range(len(head))]
    names = "".join(f'<th scope="col" {kind}>{_markup(h)}</th>' for h, kind in zip(head, kinds, strict=True))
    lines = "\n".join(_row(row, kinds) for row in rows)
    above = f"<caption>{_markup(caption)}</caption>" if caption else ""
    whole = f"{above}<thead><tr>{names}</tr></thead>\n<tbody>{lines}</tbody>"
    return Markup(f'<div class="wide"><table>{whole}</table></div>')


def facts(pairs: Iterable[tuple[str, str]]) -> Markup:
    """Return named facts, one per line."""
    lines = "\n".join(f"<dt>{_markup(name)}</dt><dd>{_markup(said)}</dd>" for name, said in pairs)
    return Markup(f"<dl>{lines}</dl>")


def listing(items: Iterable[str]) -> Markup:
    """Return a list of sentences."""
    return Markup("<ul>" + "\n".join(f"<li>{_markup(item)}</li>" for item in items) + "</ul>")


def verbatim(text: str) -> Markup:
    """Return text as it is, spaces and line ends included."""
    return Markup(f"<pre>{_markup(text)}</pre>")


def folded(summary: str, blocks: Iterable[Markup]) -> Markup:
    """Return blocks behind a line that opens them."""
    return Markup(f"<details><summary>{_markup(summary)}</summary>{''.join(blocks)}</details>")


def link(text: str, target: str) -> Markup:
    """Return a link to a place of this page (``#name``) or to a file beside it.

    Args:
        text: what is seen.
        target: a relative path with forward slashes, or ``#`` and the name given to :func:`place`.
    """
    return Markup(f'<a href="{escape(_address(target))}">{_markup(text)}</a>')


def place(name: str, block: Markup) -> Markup:
    """Return a block under a name that :func:`link` can lead to."""
    return Markup(f'<div id="at-{quote(name)}">{block}</div>')


def figure(drawing: Markup, caption: str) -> Markup:
    """Return an SVG drawing (of ``plots``) or several with a caption."""
    return Markup(f"<figure>{drawing}<figcaption>{_markup(caption)}</figcaption></figure>")


def picture(source: str | bytes, caption: str, *, title: str = "") -> Markup:
    """Return a picture with a caption.

    Args:
        source: a relative path with forward slashes to a file beside the page, which the picture then leads
            to, or a PNG's bytes, which then are in the page itself.
        caption: what it shows.
        title: what a reader gets who cannot see it; the caption by default.
    """
    address = _address(source) if isinstance(source, str) else _data_address(source)
    shown = Markup(f'<img src="{escape(address)}" alt="{escape(title or caption)}" loading="lazy">')
    return figure(link(shown, source) if isinstance(source, str) else shown, caption)


def gallery(figures: Iterable[Markup]) -> Markup:
    """Return figures side by side, as many as the width holds."""
    return Markup(f'<div class="gallery">{"".join(figures)}</div>')


def _markup(text: str) -> str:
    return text if isinstance(text, Markup) else escape(text)


def _address(target: str) -> str:
    """Return a path or place as an address that cannot name another machine or a script."""
    if target.startswith("#"):
        return f"#at-{quote(target[1:])}"
    return "./" + quote(target.lstrip("/"))


def _data_address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def _row(row: Sequence[str], kinds: Sequence[str]) -> str:
    first, *others = (_markup(cell) for cell in row)
    cells = "".join(f"<td {kind}>{cell}</td>" for cell, kind in zip(others, kinds[1:], strict=True))
    return f'<tr><th scope="row">{first}</th>{cells}</tr>'


def _contents(sections: Sequence[Section]) -> list[str]:
    if len(sections) <= 2:  # noqa: PLR2004 (seen at a glance)
        return []
    items = "".join(
        f'<li><a href="#section-{number}">{escape(section.title)}</a></li>'
        for number, section in enumerate(sections, 1)
    )
    return [f"<nav><ol>{items}</ol></nav>"]


def _section(number: int, section: Section) -> str:
    heading = f"<h2>{escape(section.title)}</h2>"
    return f'<section id="section-{number}">{heading}\n' + "\n".join(section.blocks) + "\n</section>"


def _style() -> str:
    return files("thoar.reports").joinpath("page.css").read_text(encoding="utf-8").strip()
