"""Which numbered logs are one series, and when it shifts."""

import pytest

from shipper.core.shifting import Shifts, is_lowest, numbered


@pytest.mark.parametrize(
    ("name", "series", "number"),
    [
        (b"app0.log", b"app*.log", 0),
        (b"app-12.log", b"app-*.log", 12),
        (b"app0.1.log", b"app0.*.log", 1),
        (b"7.txt", b"*.txt", 7),
        (b"java123.xml", b"java*.xml", 123),
    ],
)
def test_a_number_before_the_extension_is_that_of_a_series(
    name: bytes, series: bytes, number: int
) -> None:
    assert numbered(name) == (series, number)


@pytest.mark.parametrize(
    "name", [b"app.log", b"app1234.log", b"app1", b"app1.conf", b"app.log.1", b"app1.log.gz", b""]
)
def test_other_names_are_of_no_series(name: bytes) -> None:
    assert numbered(name) is None


def test_the_lowest_number_there_is_belongs_to_the_live_log() -> None:
    names = [b"app1.log", b"app2.log", b"app10.log", b"app-0.log", b"app.log", b"web0.log"]
    lowest = [name for name in names if (one := numbered(name)) and is_lowest(one, names)]
    assert lowest == [b"app1.log", b"app-0.log", b"web0.log"]


def scans(shifts: Shifts, *each: dict[bytes, object]) -> None:
    for files in each:
        shifts.begin()
        for name, file in files.items():
            shifts.see(b"d/", name, file)


@pytest.mark.parametrize(
    ("before", "after", "is_shift"),
    [
        ({b"app0.log": 1}, {b"app0.log": 2, b"app1.log": 1}, True),
        ({b"app1.log": 1}, {b"app3.log": 1}, True),
        ({b"app0.log": 1}, {b"app0.log": 1, b"app1.log": 2}, False),
        ({b"app2.log": 1}, {b"app1.log": 1}, False),
        ({b"app0.log": 1}, {b"app-1.log": 1}, False),
        ({b"app0.log": 1}, {b"web1.log": 1}, False),
        ({b"app0.log": 1}, {b"app.log": 1}, False),
    ],
)
def test_a_series_shifts_when_a_file_gets_a_higher_number(
    before: dict[bytes, object], after: dict[bytes, object], is_shift: bool
) -> None:
    shifts = Shifts()
    scans(shifts, before, after)
    assert (shifts.known == {b"d/app*.log"}) is is_shift
    assert shifts.has_new is is_shift


def test_a_file_that_was_away_for_a_scan_tells_nothing() -> None:
    shifts = Shifts()
    scans(shifts, {b"app0.log": 1}, {}, {b"app1.log": 1})
    assert not shifts.known


def test_what_is_known_already_is_not_new() -> None:
    shifts = Shifts([b"d/app*.log"])
    scans(shifts, {b"app0.log": 1}, {b"app1.log": 1})
    assert not shifts.has_new
