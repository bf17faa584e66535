"""Text in the columns of a terminal."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from shipper.cli.layout import (
    BRIEF_LINES,
    Line,
    Section,
    columns,
    cropped,
    cut,
    fitted,
    paragraph,
    shown,
    table,
)

TEXTS = st.text(max_size=80)
WIDTHS = st.integers(1, 90)


def texts(lines: list[Line]) -> list[str]:
    return ["".join(text for text, _ in line) for line in lines]


@given(TEXTS)
def test_a_text_is_at_least_as_wide_as_a_terminal_shows_it(text: str) -> None:
    assert columns(shown(text)) >= cell_len(shown(text))


@pytest.mark.parametrize(("text", "wide"), [("abc", 3), ("日本", 4), ("e\u0301", 1), ("", 0)])
def test_wide_characters_take_two_columns_and_combining_ones_none(text: str, wide: int) -> None:
    assert columns(text) == wide


@given(TEXTS, WIDTHS)
@example("日", 1)
def test_a_wrapped_text_fits_and_loses_no_word(text: str, width: int) -> None:
    lines = texts(paragraph(text, width))
    assert all(columns(line) <= width for line in lines)
    if width > 1:
        joined, whole = "".join(lines), shown(text)
        assert joined.replace(" ", "") == whole.replace(" ", "")


def test_a_wrapped_text_is_indented_below_its_first_line() -> None:
    lines = paragraph("one two three four", 14, lead="  say: ", tone="dim")
    assert texts(lines) == ["  say: one two", "      three", "      four"]
    assert lines[0] == (("  say: ", "title"), ("one two", "dim"))


def test_without_a_width_a_text_stays_one_line() -> None:
    assert texts(paragraph("word " * 99, None)) == ["word " * 99]


def test_what_steers_a_terminal_or_ends_a_line_is_shown_as_an_escape() -> None:
    assert shown("a\x1b[31mb\tc\nd\u202ee\x9b") == "a\\x1b[31mb c d\\u202ee\\x9b"


@given(TEXTS, WIDTHS)
def test_a_name_is_cut_in_its_middle(text: str, width: int) -> None:
    found = cut(text, width)
    assert columns(found) <= max(width, 3)
    if columns(shown(text)) <= width:
        assert found == shown(text)


def test_both_ends_of_a_cut_name_stay() -> None:
    assert cut("nginx/access.log-20261129.1", 15) == "nginx/...1129.1"


@given(st.lists(st.tuples(TEXTS, st.just("")), max_size=4), WIDTHS)
def test_a_cropped_line_fits(spans: list[tuple[str, str]], width: int) -> None:
    line = cropped([(text, "bad") for text, _ in spans], width)
    assert sum(columns(text) for text, _ in line) <= width


ROWS = [("watch", "files", "lost"), ("nginx", "1,234", ""), ("日本語", "5", "")]


def test_a_table_is_aligned_and_leaves_empty_columns_out() -> None:
    assert texts(table(ROWS, None)) == ["watch   files", "nginx   1,234", "日本語      5"]
    assert texts(table([*ROWS, ("x", "6", "7")], None))[0] == "watch   files  lost"


def test_the_names_in_a_table_give_way_to_its_numbers() -> None:
    rows = [*ROWS, ("a-very-long-name-of-a-watch", "7", "")]
    assert texts(table(rows, 20))[3] == "a-ver...watch      7"
    assert all(columns(line) <= 20 for line in texts(table(rows, 20)))


def section(items: int, lines: int = 1, more: int = 0) -> Section:
    item: list[Line] = [(("item", ""),)] * lines
    return Section([item] * items, [(("head", "title"),)], more)


def test_a_section_says_how_many_it_does_not_show() -> None:
    assert texts(fitted([section(3, more=9)], 80, None)) == [
        *("head", "item", "item", "item"),
        "    and 9 more",
    ]
    assert texts(fitted([section(9)], 80, 4)) == ["head", "item", "item", "    and 7 more"]


def test_long_lists_share_the_screen() -> None:
    lines = texts(fitted([section(50), section(2), section(50)], 80, 24))
    assert len(lines) <= 24
    assert lines.count("item") == 9 + 2 + 8
    assert lines[-2:] == ["item", "    and 42 more"]


def test_long_items_are_cut_short_only_where_not_all_fit() -> None:
    lines = texts(fitted([section(3, lines=9)], 80, 14))
    assert lines == ["head", *(["item"] * (BRIEF_LINES - 1) + ["    ..."]) * 3]
    assert "    ..." not in texts(fitted([section(3, lines=9)], 80, 28))


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9), st.integers(0, 5)), max_size=8),
    st.integers(1, 60),
)
def test_no_screen_is_taller_than_the_terminal(
    shapes: list[tuple[int, int, int]], height: int
) -> None:
    assert len(fitted([section(*shape) for shape in shapes], 80, height)) <= height
