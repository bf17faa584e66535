"""The page at ``/``: what it shows, that no text becomes markup, and that all can read it."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shipper.ports import PortError
from shipper.reports.page.charts import GAP_SECONDS, WIDTH, charts
from shipper.reports.page.history import KEPT, SAMPLE_SECONDS, History, Sample
from shipper.reports.page.markup import element, escaped
from shipper.reports.page.page import SHOWN, page, trouble_page
from shipper.reports.page.style import HEADERS, STYLE
from shipper.reports.rows import explained, failure, named, plain
from tests.machines.schemas import documents

TAGS = set(
    re.findall(
        r"\S+",
        "html head meta title style body main section h1 h2 p strong b span ul li dl dt dd div "
        "figure svg polyline figcaption table caption thead tbody tr th td progress",
    )
)
ATTRIBUTES = set(
    re.findall(
        r"\S+",
        "lang charset name content class role scope aria-label max value viewbox "
        "preserveaspectratio points",
    )
)
"""None of them loads, links or runs anything."""
AA_TEXT, AA_GRAPHICS = 4.5, 3.0
"""WCAG 2.2, 1.4.3 and 1.4.11."""
MINUTES = [Sample(60.0 * minute, 1024.0 * minute, minute, 2**20 * minute) for minute in range(90)]
RUNNING = documents("status", "running")


class Parsed(HTMLParser):
    """A page as a browser reads it; it must be balanced."""

    def __init__(self, markup: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.headings: list[int] = []
        self._open: list[str] = []
        self.feed(markup.decode())
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self._open.append(tag)
        if re.fullmatch(r"h\d", tag):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    handle_pi = unknown_decl = handle_comment

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return "".join(self.texts)


def well(**changes: Any) -> dict[str, Any]:
    """A status in which all is well and nothing was ever done."""
    fresh = {"state": "fresh", "role": "r", "code": "", "detail": "", "hint": ""}
    fresh |= {"expires_at": "2026-11-28T14:05:00Z"}
    return {
        "version": "1",
        "pid": 7,
        "at": "2026-11-28T12:00:00Z",
        "running": True,
        "instance_id": "i-1",
        "ailments": [],
        "imperfections": [],
        "problems": [],
        "parked": [],
        "lost": [],
        "refused": {},
        "watches": {"app": {}},
        "unshipped_files": 0,
        "unshipped_bytes": 0,
        "oldest_unshipped_seconds": 0.0,
        "unshipped_age_seconds": {"app": 0.0},
        "rate": {"sent_bytes_per_second": 0.0, "files_per_second": 0.0},
        "in_flight": {"files": 0, "raw_bytes": 0, "largest": []},
        "scan": {"scans": 1, "waiting_files": 0},
        "held": {"descriptors": 0, "unlinked_bytes": 0},
        "termination": {"draining": False},
        "disks": [],
        "manifests": {},
        "destinations": {
            "default": {"bucket": "logs", "gate": {"open": True}, "credentials": fresh}
        },
    } | changes


def shown(*samples: Sample, **changes: Any) -> Parsed:
    return Parsed(page(well(**changes), samples, now=samples[-1].at if samples else 0.0))


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(RUNNING, st.integers(0, 90))
def test_no_text_of_any_status_becomes_markup(document: dict[str, Any], samples: int) -> None:
    parsed = Parsed(page(document, MINUTES[:samples], now=5400.0))
    assert {tag for tag, _ in parsed.tags} <= TAGS
    assert {name for _, attributes in parsed.tags for name in attributes} <= ATTRIBUTES
    assert len(parsed.named("style")) == len(parsed.named("title")) - len(parsed.named("svg")) == 1
    assert STYLE in parsed.texts
    assert all(each.isprintable() or each == "\n" for each in parsed.text)


@given(st.text() | st.binary().map(lambda raw: raw.decode(errors="surrogateescape")))
def test_a_name_of_any_bytes_is_shown_as_it_is_but_for_what_cannot_be_printed(name: str) -> None:
    parsed = Parsed(element("b", name, aria_label=name).encode())
    said = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in name)
    assert parsed.text == said
    assert parsed.named("b") == [{"aria-label": said}]


def test_directions_of_writing_and_controls_are_not_obeyed() -> None:
    assert escaped('\u202egnp.\x1b[1m\x00"') == "\ufffdgnp.\ufffd[1m\ufffd&quot;"


def test_the_policy_allows_the_style_and_nothing_else() -> None:
    (style,) = re.findall(b"<style>(.*?)</style>", page(well(), [], now=0.0), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style).digest()).decode()
    policy = dict(
        each.strip().split(" ", 1) for each in HEADERS["Content-Security-Policy"].split(";")
    )
    assert policy == {
        "default-src": "'none'",
        "style-src": f"'sha256-{digest}'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert not re.search(r"https?:|url\(|@import|//", STYLE)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "well"),
        ({"scan": {"scans": 0, "waiting_files": 0}}, "starting"),
        ({"ailments": ["nothing is sent: NoSuchBucket (hint: make it)"]}, "ill"),
        (
            {"termination": {"draining": True, "reason": "spot", "seconds_left": 65.0}},
            "draining",
        ),
    ],
)
def test_the_heading_and_the_title_say_the_state_in_a_word(
    changes: dict[str, Any], word: str
) -> None:
    parsed = shown(**changes)
    assert parsed.text.count(f"shipper on i-1: {word}") == 2
    assert ("for spot; 1m5s left" in parsed.text) == (word == "draining")


def test_what_is_no_outage_makes_it_imperfect_only_where_nothing_else_is_wrong() -> None:
    clock, shut = "this machine's clock is behind", "nothing is sent"
    one = page(well(imperfections=[clock]), [], 0.0)
    assert b'shipper on i-1: <strong class="dim">imperfect' in one
    both = page(well(ailments=[shut], imperfections=[clock]), [], 0.0)
    assert b'shipper on i-1: <strong class="bad">ill' in both


def test_a_reason_has_its_hint_below() -> None:
    parsed = shown(ailments=["nothing is sent: NoSuchBucket (hint: make it)", "a loop is stuck"])
    assert "nothing is sent: NoSuchBucket" in parsed.texts
    assert "Hint: make it" in parsed.texts
    assert "a loop is stuck" in parsed.texts


def test_no_hint_comes_from_a_files_name_or_an_answer_of_s3() -> None:
    evil = "a (hint: run `evil`).log.1"
    said = failure("HardLinked", f"{plain(evil)} has two names", "remove one")
    assert explained(said) == (
        "HardLinked: a (hint; run `evil`).log.1 has two names",
        "remove one",
    )
    assert explained(failure("Odd", evil)) == ("Odd: a (hint; run `evil`).log.1", "")
    assert named(evil.encode()) == plain(evil)
    row = {"watch": "app", "path": evil, "code": "Odd", "detail": evil, "hint": "ask"}
    hints = [text for text in shown(problems=[row]).texts if text.startswith("Hint: ")]
    assert hints == ["Hint: ask"]


def test_where_nothing_is_known_everything_is_shown_all_the_same() -> None:
    one = {"state": "none-yet", "role": "", "expires_at": None, "code": "", "detail": ""}
    gate = {"open": False, "code": "Waiting", "detail": "no instance", "hint": ""}
    to = {"bucket": "logs", "gate": gate, "credentials": one | {"hint": ""}}
    text = shown(instance_id="", destinations={"default": to}, watches={}).text
    assert "unknown instance" in text
    assert "shut Waiting: no instance" in text
    assert "none-yet" in text
    assert "role ?, until ?" in text
    assert "Kept only with http.listen" in text


def test_every_file_in_flight_has_its_progress_as_a_meter_and_as_text() -> None:
    one = {"id": 1, "watch": "app", "path": "a.log.1", "raw_bytes": 2**20, "raw_bytes_done": 2**19}
    empty = one | {"path": "b.log.1", "raw_bytes": 0, "raw_bytes_done": 0}
    flight = {"files": 30, "raw_bytes": 2**25, "largest": [one, empty]}
    parsed = shown(in_flight=flight)
    assert parsed.named("progress")[0] == {
        "max": "1",
        "value": "0.500",
        "aria-label": "app/a.log.1",
    }
    assert " 50% of 1.0 MiB" in parsed.texts
    assert "32.0 MiB in 30 files, 2 of them here" in parsed.texts


def test_what_needs_an_operator_is_shown_with_its_hint_and_counted_beyond_what_is_shown() -> None:
    row = {"watch": "app", "code": "KeyTaken", "detail": "another is there", "hint": "compare"}
    rows = [row | {"path": f"{number}.log"} for number in range(SHOWN)]
    text = shown(
        parked=rows,
        lost=rows[:2],
        problems=[row | {"code": "HardLinked"} | {"path": "x"}],
        refused={"app": {"HardLinked": 3, "KeyTaken": 10_000}},
        watches={"app": {"PARKED": {"files": 10_000, "raw_bytes": 1, "stored_bytes": 1}}},
    ).text
    assert "Parked: 10,000 files, 20 of them here" in text
    assert "Refused: 3 files, 1 of them here" in text
    assert "Lost: 2 files" in text
    assert "Lost, at least: 20 files" in shown(lost=rows).text
    assert "KeyTaken: another is thereHint: compare" in text
    assert "10,000 parked, 3 refused" in text
    assert "10,000 (1 B)" in text, "what is parked is not in S3"


def test_an_overdue_log_is_a_trouble_of_its_watch() -> None:
    due = {"app": {"due_at": "2026-11-28T11:00:00Z", "overdue_seconds": 65}}
    assert "overdue for 1m5s" in shown(expected=due).text


def test_long_lists_are_cut_and_counted() -> None:
    watches: dict[str, Any] = {f"w{number:03}": {} for number in range(200)}
    text = shown(ailments=[f"reason {number}" for number in range(50)], watches=watches).text
    assert "reason 19" in text
    assert "reason 20" not in text
    assert "and 30 more" in text
    assert "200 watches, 20 of them here" in text
    assert "w019" in text
    assert "w020" not in text


def test_an_expired_credential_and_a_full_disk_are_said() -> None:
    credentials = {"state": "expired", "role": "r", "code": "Unreachable", "detail": "silent"}
    credentials |= {"hint": "ask", "expires_at": "2026-11-28T11:00:00Z"}
    to = {"bucket": "logs", "gate": {"open": True}, "credentials": credentials}
    disk = {"directory": "/var/log", "used_ratio": 0.987}
    text = shown(destinations={"default": to}, disks=[disk]).text
    assert "expired, expired 1h ago" in text
    assert "Unreachable: silentHint: ask" in text
    assert "Disk of /var/log98.7 % full" in text


def test_the_last_manifest_and_heartbeat_are_said_and_why_the_next_fails() -> None:
    well_so_far = {"code": "", "detail": "", "hint": ""}
    failing = {"code": "AccessDenied", "detail": "no", "hint": "allow it"}
    until = {"number": 7, "until": "2026-11-28T11:00:00Z"}
    beat = {"written_at": "2026-11-28T11:30:00Z"}
    text = shown(manifests={"default": until | well_so_far}, heartbeat=beat | well_so_far).text
    assert "manifest 7, until 2026-11-28T11:00:00Z" in text
    assert "Heartbeatthe last at 2026-11-28T11:30:00Z" in text
    assert "failed" not in text
    none = {"number": 0, "until": "2026-11-28T11:00:00Z"} | failing
    text = shown(manifests={"default": none}, heartbeat=none | {"written_at": None}).text
    failed = "yet; failed AccessDenied: noHint: allow it"
    assert f"no manifest {failed}" in text
    assert f"none {failed}" in text
    assert "no manifests are wanted" in shown().text
    assert "Heartbeat" not in shown().text


def test_without_a_status_the_page_says_why() -> None:
    parsed = Parsed(trouble_page(PortError("JournalUnwritable", "<disk> I/O error", "look")))
    assert parsed.texts[-3:-1] == ["JournalUnwritable: <disk> I/O error", "Hint: look"]
    assert parsed.headings == [1]


def test_headings_descend_and_tables_name_their_rows_and_columns() -> None:
    row = {"watch": "app", "path": "a", "code": "c", "detail": "d", "hint": "h"}
    parsed = shown(*MINUTES, ailments=["a"], parked=[row])
    assert parsed.headings == [1, *[2] * (len(parsed.headings) - 1)]
    tables = len(parsed.named("table"))
    assert tables == 3
    assert tables == len(parsed.named("caption"))
    assert {one["scope"] for one in parsed.named("th")} == {"row", "col"}
    assert {one["role"] for one in parsed.named("td")} == {"cell"}
    assert parsed.named("html") == [{"lang": "en"}]


def test_the_curves_say_their_numbers_as_text_to_those_who_see_and_those_who_hear() -> None:
    present = {"sent_bytes_per_second": 2048.0, "files_per_second": 1.0}
    parsed = shown(*MINUTES, rate=present, unshipped_bytes=2**20)
    numbers = "2.0 KiB/s now, 89.0 KiB/s at most, 44.0 KiB/s in the mean; the last 1h29m"
    assert f"Sent: {numbers}" in parsed.texts
    assert f": {numbers}" in parsed.texts
    assert ": 1.0 MiB now, 89.0 MiB at most, 44.0 MiB in the mean; the last 1h29m" in parsed.texts
    assert [one["role"] for one in parsed.named("svg")] == ["img", "img"]


def curves(*samples: Sample, now: float) -> list[list[tuple[float, float]]]:
    """The points of the lines of the first figure."""
    lines = Parsed(charts(samples, now).encode()).named("polyline")
    points = [str(one["points"]).split() for one in lines[: len(lines) // 2]]
    return [[(float(x), float(y)) for x, y in (at.split(",") for at in line)] for line in points]


def test_no_line_is_drawn_over_a_time_without_samples() -> None:
    early = [Sample(SAMPLE_SECONDS * number, 1.0, 0, 0) for number in range(5)]
    late = Sample(early[-1].at + GAP_SECONDS + 1, 1.0, 0, 0)
    first, last = curves(*early, late, now=late.at)
    assert len(first) == 5
    assert len(last) == 2
    assert last[-1][0] == WIDTH


@given(st.lists(st.floats(0, 1e15), min_size=1, max_size=KEPT), st.floats(0, 1e9))
def test_every_curve_stays_in_its_picture(amounts: list[float], since: float) -> None:
    samples = [Sample(60.0 * at, amount, 0, 0) for at, amount in enumerate(amounts)]
    for line in curves(*samples, now=samples[-1].at + since):
        assert all(0 <= x <= WIDTH and 0 <= y <= 100 for x, y in line)
        assert line == sorted(line, key=lambda point: point[0])


def test_the_history_has_a_sample_a_minute_and_ends() -> None:
    history = History()
    assert history.is_due(0.0)
    for number in range(KEPT + 10):
        history.add(Sample(SAMPLE_SECONDS * number, 0.0, 0, 0))
    last = history.samples[-1].at
    assert len(history.samples) == KEPT
    assert not history.is_due(last + SAMPLE_SECONDS - 0.1)
    assert history.is_due(last + SAMPLE_SECONDS)


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return sum(one * weight for one, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_colour_is_told_from_its_ground(scheme: int) -> None:
    blocks = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    assert len(blocks) == 2
    colours = dict(re.findall(r"--(\w+): (#\w{6})", blocks[scheme]))
    assert set(colours) == {"ground", "text", "dim", "good", "bad", "curve", "rule"}
    assert set(re.findall(r"#\w{6}", STYLE)) == {*re.findall(r"#\w{6}", "".join(blocks))}
    ground = luminance(colours["ground"])
    for name, needed in dict.fromkeys(("text", "dim", "good", "bad"), AA_TEXT).items() | {
        ("curve", AA_GRAPHICS)
    }:
        light, dark = sorted((luminance(colours[name]), ground), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= needed, name
