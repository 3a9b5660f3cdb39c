"""Parts that every page of ours is made of: the page itself, tables and bars."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

__all__ = ["draw_bar", "format_page", "format_table"]


def format_page(title: str, style: str, sections: Sequence[str], *, extra: str = "") -> str:
    """A whole HTML page of sections; no script, no request.

    ``title`` is escaped; ``extra`` goes into the head.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{extra}<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(section for section in sections if section)
        + "\n</main>\n</body>\n</html>\n"
    )


def format_table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    extra: Sequence[str] = (),
    words: Sequence[int] = (),
) -> str:
    """A table whose cells are escaped; ``extra`` is HTML for a last column.

    ``words`` are columns of text, set to the left and broken where need be.
    """
    classes = [' class="words"' if index in words else "" for index in range(len(heads))]
    head = "".join(
        f"<th{kind}>{escape(text)}</th>" for kind, text in zip(classes, heads, strict=True)
    )
    lines = []
    for index, row in enumerate(rows):
        cells = [f"<th>{escape(row[0])}</th>"]
        cells += [
            f"<td{classes[place + 1]}>{escape(text)}</td>" for place, text in enumerate(row[1:])
        ]
        cells += [f"<td>{extra[index]}</td>"] if extra else []
        lines.append(f"<tr>{''.join(cells)}</tr>")
    body = "\n".join(lines)
    return (
        f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def draw_bar(share: float) -> str:
    """A bar of that share, 0 to 1, of its column."""
    return f'<span class="bar"><i style="width:{100 * min(max(share, 0), 1):.1f}%"></i></span>'
