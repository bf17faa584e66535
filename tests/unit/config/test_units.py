"""Durations and sizes as people write them."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shipper.config.units import (
    bytes_from_text,
    rate_from_text,
    ratio_from_text,
    seconds_from_text,
    text_from_bytes,
    text_from_rate,
    text_from_ratio,
    text_from_seconds,
)

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
BYTES = {
    "": 1,
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
}
DURATION = re.compile(r"\s*([0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d|w)\s*)+")
SIZE = re.compile(r"\s*[0-9]+(\.[0-9]+)?\s*(|B|kB|[KMGT]B|[KMGT]iB)\s*")

SPACES = st.sampled_from(["", " ", "\t"])
NEARLY = st.text(alphabet="0123456789.smhdwkKMGTiB -+e\n", max_size=12)
ANYTHING = st.text() | NEARLY


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30.0),
        ("10m", 600.0),
        ("1h30m", 5400.0),
        ("1h 30m", 5400.0),
        (" 2 d ", 172800.0),
        ("1w", 604800.0),
        ("500ms", 0.5),
        ("0s", 0.0),
        ("1.5h", 5400.0),
        ("3650d", 315360000.0),
    ],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert seconds_from_text(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "30",
        "s",
        "-5s",
        "5 minutes",
        "1,5s",
        "1.5.5s",
        "5sx",
        "5s 3",
        "1e3s",
        ".5s",
        "٣s",
        "5S",
    ],
)
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r'is no duration; write "30s", "10m" or "1h30m"$'):
        seconds_from_text(text)


@pytest.mark.parametrize("text", ["3650d 1s", "999999999999w", "600w"])
def test_a_duration_that_no_clock_can_wait_for_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r'is too long; write "3650d" or less$'):
        seconds_from_text(text)


@given(
    st.lists(
        st.tuples(st.integers(0, 500), SPACES, st.sampled_from(sorted(SECONDS)), SPACES),
        min_size=1,
        max_size=5,
    )
)
def test_a_duration_is_the_sum_of_its_parts(parts: list[tuple[int, str, str, str]]) -> None:
    text = "".join(f"{number}{gap}{unit}{end}" for number, gap, unit, end in parts)
    expected = sum(number * SECONDS[unit] for number, _, unit, _ in parts)
    if expected <= 3650 * 86400:
        assert seconds_from_text(text) == pytest.approx(expected)
    else:
        with pytest.raises(ValueError, match="is too long"):
            seconds_from_text(text)


@given(ANYTHING)
@example("9" * 400 + "s")
@example("9" * 5000 + "s")
def test_any_other_text_is_no_duration_and_nothing_else_is_raised(text: str) -> None:
    try:
        seconds = seconds_from_text(text)
    except ValueError as error:
        refusal = str(error)
    else:
        refusal = ""
        assert 0 <= seconds <= 3650 * 86400
        assert DURATION.fullmatch(text)
    assert not refusal or "; write " in refusal


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("16MiB", 16 * 1024**2),
        ("5MB", 5_000_000),
        ("1024", 1024),
        ("0", 0),
        (" 1.5 GiB ", 1_610_612_736),
        ("7B", 7),
        ("2.3kB", 2300),
        ("999999999999TB", 999_999_999_999 * 10**12),
    ],
)
def test_a_size_is_read_to_the_byte(text: str, size: int) -> None:
    assert bytes_from_text(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "MiB", "-1", "1 mib", "16M", "1,5MB", "1e6", "5 MB 3", "0x10", "٣MB", "1.MB", "9" * 13],
)
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r'is no size; write "16MiB", "5MB" or "1024"$'):
        bytes_from_text(text)


@given(st.integers(0, 10**12 - 1), SPACES, st.sampled_from(sorted(BYTES)), SPACES)
def test_a_size_is_its_number_times_its_unit(number: int, gap: str, unit: str, end: str) -> None:
    assert bytes_from_text(f"{end}{number}{gap}{unit}{end}") == number * BYTES[unit]


@given(ANYTHING)
@example("9" * 400)
@example("9" * 5000 + "MiB")
def test_any_other_text_is_no_size_and_nothing_else_is_raised(text: str) -> None:
    try:
        size = bytes_from_text(text)
    except ValueError as error:
        refusal = str(error)
    else:
        refusal = ""
        assert size >= 0
        assert SIZE.fullmatch(text)
    assert not refusal or "; write " in refusal


@pytest.mark.parametrize(
    ("text", "rate"), [("20MiB/s", 20 * 1024**2), ("500kB/s", 500_000), ("", 0), (" 1 / s ", 1)]
)
def test_a_rate_is_a_size_per_second(text: str, rate: float) -> None:
    assert rate_from_text(text) == rate


@pytest.mark.parametrize("text", ["20MiB", "20MiB/m", "/s", "0B/s", "fast", "20 furlongs/s"])
def test_what_is_no_rate_is_refused_with_one(text: str) -> None:
    with pytest.raises(ValueError, match="20MiB/s"):
        rate_from_text(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0s"), (0.5, "500ms"), (5.0, "5s"), (90.0, "90s"), (600.0, "10m"), (1209600.0, "2w")],
)
def test_a_duration_is_written_in_the_largest_unit_that_is_whole(
    seconds: float, text: str
) -> None:
    assert text_from_seconds(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0"), (1000, "1kB"), (1025, "1025"), (16 * 1024**2, "16MiB"), (5 * 10**9, "5GB")],
)
def test_a_size_is_written_in_the_largest_unit_that_is_whole(size: int, text: str) -> None:
    assert text_from_bytes(size) == text


@given(st.integers(0, 10**12 - 1))
def test_a_size_that_was_written_is_read_as_it_was(size: int) -> None:
    assert bytes_from_text(text_from_bytes(size)) == size
    assert rate_from_text(text_from_rate(size)) == size


@given(st.integers(0, 10**11))
def test_a_duration_that_was_written_is_read_as_it_was(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert seconds_from_text(text_from_seconds(seconds)) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "ratio"), [("85%", 0.85), ("7.5 %", 0.075), (" 100% ", 1.0), ("", 0.0)]
)
def test_a_percentage_is_read(text: str, ratio: float) -> None:
    assert ratio_from_text(text) == ratio


@pytest.mark.parametrize(
    "text", ["85", "0.85", "%", "-1%", "1e1%", "85%%", "85 percent", "８%", "0%"]
)
def test_what_is_no_percentage_says_what_one_looks_like(text: str) -> None:
    with pytest.raises(ValueError, match='is no percentage; write "85%"'):
        ratio_from_text(text)


@given(st.integers(1, 10_000))
def test_a_percentage_is_written_as_it_is_read(hundredths: int) -> None:
    ratio = hundredths / 10_000
    assert ratio_from_text(text_from_ratio(ratio)) == pytest.approx(ratio)
