"""Parts of pages: whole HTML around sections, tables whose cells are escaped, bars."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.profiles.pages.page_parts import draw_bar, format_page, format_table


def test_a_page_is_whole_with_its_title_escaped_and_empty_sections_left_out(
    read_page: Callable[[str], Any],
) -> None:
    text = format_page("a<b>", "p { margin: 0 }", ["<p>one</p>", "", "<p>two</p>"], extra="<!---->")
    page = read_page(text)
    assert page.open == []
    assert text.startswith("<!DOCTYPE html>")
    assert "<!----><title>a&lt;b&gt;</title>" in text
    assert "<style>p { margin: 0 }</style>" in text
    assert "<main>\n<p>one</p>\n<p>two</p>\n</main>" in text


@given(st.lists(st.lists(st.text(max_size=8), min_size=2, max_size=2), max_size=4))
def test_a_table_has_every_cell_as_text_and_nothing_else_of_them(rows: list[list[str]]) -> None:
    from html import unescape

    text = format_table(["a", "b"], rows)
    cells = [unescape(part.split("</t")[0]) for part in text.split("<td>")[1:]]
    heads = [unescape(part.split("</t")[0]) for part in text.split("<th>")[1:]]
    assert cells == [row[1] for row in rows]
    assert heads == ["a", "b", *(row[0] for row in rows)]


def test_a_last_column_is_html_and_columns_of_words_have_their_class() -> None:
    text = format_table(
        ["name", "why", "bar"], [["x", "long words"]], extra=["<b>!</b>"], words=[1]
    )
    assert '<tr><th>x</th><td class="words">long words</td><td><b>!</b></td></tr>' in text
    assert '<th class="words">why</th>' in text


@pytest.mark.parametrize(
    ("share", "width"),
    [(0.0, "0.0"), (0.125, "12.5"), (1.0, "100.0"), (-1.0, "0.0"), (7.0, "100.0")],
)
def test_a_bar_is_as_wide_as_its_share_and_stays_in_its_column(share: float, width: str) -> None:
    assert f"width:{width}%" in draw_bar(share)
