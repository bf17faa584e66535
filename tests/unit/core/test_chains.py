"""A chain of manifests that was touched is named; one that was not is not, whatever happened."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.chains import (
    Epoch,
    Limits,
    Link,
    Unentered,
    entry_problem,
    followed,
    is_sampled,
    newest_of,
    seconds,
    sent_at,
    why_unentered,
)
from shipper.core.epochs import Word, instance_findings, word_finding, words_of
from shipper.core.findings import HINTS, NOTICES, Code, Finding
from tests.fakes.chains import BEGIN, HOUR, Chain, Written, body_of, entry, loss, rewritten

SLACK = 900.0
RESTS = st.lists(
    st.tuples(
        st.integers(1, 30 * 24 * 3600),
        st.sampled_from(["interval", "full", "stop", "drain"]),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=12,
)


def link(one: Written) -> Link:
    return Link(one.name, one.at, hashlib.sha256(one.body).hexdigest(), one.header)


def unreadable(one: Written) -> Link:
    return Link(one.name, one.at, hashlib.sha256(one.body[:-1]).hexdigest(), None, "it is cut")


def follow(links: Sequence[Link], *, is_partial: bool = False) -> tuple[Epoch, list[Finding]]:
    epoch, findings = None, list[Finding]()
    for one in links:
        epoch, found = followed(epoch, one, is_partial=is_partial)
        findings += found
    assert epoch is not None
    return epoch, findings


def chain_of(count: int, **about: object) -> Chain:
    chain = Chain(**about)  # type: ignore[arg-type]
    chain.write_idle(count)
    return chain


def written_with(rests: Sequence[tuple[int, str, int]]) -> Chain:
    chain = Chain()
    for after, because, entries in rests:
        keys = [f"logs/{len(chain.written)}-{at}" for at in range(entries)]
        chain.write(*(entry(key, b"x") for key in keys), after=after, because=because)
    return chain


def codes(findings: Sequence[Finding]) -> list[Code]:
    return [finding.code for finding in findings]


def judged(epochs: Sequence[Epoch], now: float, *, expected: bool = False) -> list[Finding]:
    limits = Limits(now, SLACK)
    return [*instance_findings(epochs, limits, is_expected=expected, here="bucket/logs/")]


@given(RESTS)
def test_a_chain_as_it_was_written_is_sound_whatever_it_holds_and_however_long_it_rested(
    rests: list[tuple[int, str, int]],
) -> None:
    chain = written_with(rests)

    epoch, findings = follow([*map(link, chain.written)])

    assert findings == []
    assert epoch.number == len(rests)
    assert (epoch.from_, epoch.because) == (BEGIN, rests[-1][1])
    assert epoch.to == seconds(chain.written[-1].header.to)
    assert epoch.holes == ()


@given(RESTS, st.data())
def test_whatever_is_removed_but_the_tail_is_named_once(
    rests: list[tuple[int, str, int]], data: st.DataObject
) -> None:
    chain = written_with([(60, "interval", 1), *rests])
    first = data.draw(st.integers(0, len(chain.written) - 2))
    last = data.draw(st.integers(first, len(chain.written) - 2))
    left = chain.written[:first] + chain.written[last + 1 :]

    epoch, findings = follow([*map(link, left)])

    assert codes(findings) == [Code.MISSING_NUMBER]
    assert findings[0].key == chain.written[first].name.key
    assert all(epoch.is_in_hole(one.at, 0) for one in chain.written[first : last + 1])
    assert not any(epoch.is_in_hole(one.at, 0) for one in chain.written[last + 1 :])


@given(RESTS, st.data())
def test_a_manifest_that_is_replaced_by_another_readable_one_is_named_by_the_next(
    rests: list[tuple[int, str, int]], data: st.DataObject
) -> None:
    chain = written_with([(60, "interval", 1), *rests])
    at = data.draw(st.integers(0, len(chain.written) - 2))
    replaced = list(chain.written)
    replaced[at] = rewritten(replaced[at], version="forged")

    epoch, findings = follow([*map(link, replaced)])

    assert codes(findings) == [Code.BROKEN_LINK]
    assert findings[0].key == chain.written[at].name.key
    assert epoch.is_in_hole(chain.written[at].at, 0)


@given(RESTS, st.data())
def test_two_manifests_that_changed_places_are_both_named(
    rests: list[tuple[int, str, int]], data: st.DataObject
) -> None:
    chain = written_with([(60, "interval", 1), *rests])
    one, other = sorted(
        data.draw(
            st.lists(st.integers(0, len(chain.written) - 1), min_size=2, max_size=2, unique=True)
        )
    )
    swapped = list(chain.written)
    swapped[one] = replace(chain.written[other], name=chain.written[one].name)
    swapped[other] = replace(chain.written[one], name=chain.written[other].name)

    _, findings = follow([*map(link, swapped)])

    assert codes(findings) == [Code.MISPLACED_MANIFEST] * 2
    assert [finding.key for finding in findings] == [
        swapped[one].name.key,
        swapped[other].name.key,
    ]


@given(RESTS, st.data())
def test_a_manifest_that_cannot_be_read_is_named_once_wherever_it_is(
    rests: list[tuple[int, str, int]], data: st.DataObject
) -> None:
    chain = written_with(rests)
    at = data.draw(st.integers(0, len(chain.written) - 1))
    links = [*map(link, chain.written)]
    links[at] = unreadable(chain.written[at])

    epoch, findings = follow(links)

    assert codes(findings) == [Code.UNREADABLE_MANIFEST]
    assert (findings[0].key, findings[0].detail) == (links[at].name.key, "it is cut")
    assert epoch.is_in_hole(chain.written[at].at, 0)


def test_the_hole_of_a_manifest_ends_where_the_next_begins_however_late_it_was_damaged() -> None:
    chain = chain_of(4)
    links = [*map(link, chain.written)]
    links[1] = replace(unreadable(chain.written[1]), modified_at=BEGIN + 99 * HOUR)

    epoch, _ = follow(links)

    assert epoch.is_in_hole(chain.written[1].at, 0)
    assert not epoch.is_in_hole(chain.written[1].at + 1, 0)
    assert epoch.to == BEGIN + 4 * HOUR


def test_a_first_manifest_that_names_one_before_it_is_broken() -> None:
    chain = chain_of(2)
    first = rewritten(chain.written[0], previous="f" * 64)
    second = rewritten(chain.written[1], previous=hashlib.sha256(first.body).hexdigest())

    _, findings = follow([link(first), link(second)])

    assert codes(findings) == [Code.BROKEN_LINK]
    assert "names one before it" in findings[0].detail


def test_a_manifest_that_does_not_begin_where_the_last_one_ended_is_broken() -> None:
    chain = chain_of(2)
    second = rewritten(chain.written[1], from_="2020-01-01T00:00:00.000Z")

    _, findings = follow([link(chain.written[0]), link(second)])

    assert codes(findings) == [Code.BROKEN_LINK]
    assert findings[0].key == second.name.key


def test_where_only_a_part_is_read_it_may_begin_anywhere_but_must_go_on() -> None:
    chain = chain_of(6)

    links = [*map(link, chain.written)]
    assert follow(links[2:], is_partial=True)[1] == []
    assert codes(follow([links[2], *links[4:]], is_partial=True)[1]) == [Code.MISSING_NUMBER]
    many = follow([links[0], *links[4:]])[1]
    assert many[0].detail == "numbers 2 to 4 are not there"


def test_a_chain_that_goes_on_has_nothing_to_say_and_one_that_is_late_has_ended() -> None:
    epoch, _ = follow([*map(link, chain_of(3).written)])

    assert judged([epoch], epoch.to + 2 * HOUR + SLACK) == []
    late = judged([epoch], epoch.to + 2 * HOUR + SLACK + 1)
    assert codes(late) == [Code.ENDED]
    assert "number 3" in late[0].detail
    assert late[0].is_wrong


@pytest.mark.parametrize("because", ["interval", "full", "stop"])
def test_how_late_is_late_is_what_the_newest_manifest_says_whatever_rests_are_in_the_chain(
    because: str,
) -> None:
    chain = Chain(interval=60)
    for after in (5.0, 100 * HOUR, 0.0):
        chain.write(after=after, because=because)
    assert follow([*map(link, chain.written)])[0].due_seconds == 120
    chain.interval = 12 * 3600
    chain.write(because=because)
    assert follow([*map(link, chain.written)])[0].due_seconds == 24 * HOUR
    chain.interval = 0
    chain.write(because=because)
    assert follow([*map(link, chain.written)])[0].due_seconds == 2 * HOUR


@pytest.mark.parametrize("because", ["stop", "drain", "ship"])
def test_an_instance_that_said_that_it_stops_is_a_notice_unless_somebody_says_it_lives(
    because: str,
) -> None:
    chain = chain_of(2)
    chain.write(because=because, after=5)
    epoch, _ = follow([*map(link, chain.written)])

    found = judged([epoch], epoch.to + 1000 * HOUR)
    assert codes(found) == [Code.STOPPED]
    assert not found[0].is_wrong
    assert judged([epoch], epoch.to + 60) == []
    assert codes(judged([epoch], epoch.to + 1000 * HOUR, expected=True)) == [Code.ENDED]


@pytest.mark.parametrize(("because", "intervals"), [("stop", 1), ("drain", 1), ("ship", 2)])
def test_a_stop_is_said_once_its_interval_and_the_slack_are_over(
    because: str, intervals: int
) -> None:
    chain = chain_of(2)
    chain.write(because=because, after=5)
    epoch, _ = follow([*map(link, chain.written)])
    at = epoch.to + intervals * HOUR + SLACK

    for expected, code in ((False, Code.STOPPED), (True, Code.ENDED)):
        assert judged([epoch], at, expected=expected) == []
        assert codes(judged([epoch], at + 1, expected=expected)) == [code]


def test_an_epoch_that_follows_another_is_a_notice_with_how_it_began() -> None:
    first, _ = follow([*map(link, chain_of(3).written)])
    again = Chain(epoch="B", began=first.to + 60, begins="the journal was lost", before=first.name)
    again.write_idle(2)
    second, _ = follow([*map(link, again.written)])

    found = judged([first, second], second.to + 60)

    assert codes(found) == [Code.NEW_EPOCH]
    assert "the journal was lost" in found[0].detail
    assert not found[0].is_wrong


def test_an_instance_that_starts_for_the_first_time_again_lost_its_state_directory() -> None:
    first, _ = follow([*map(link, chain_of(3).written)])
    again = Chain(epoch="B", began=first.to + 60, begins="first start")
    again.write_idle(2)
    second, _ = follow([*map(link, again.written)])

    assert "the state directory was lost" in judged([first, second], second.to + 60)[0].detail


def test_an_epoch_of_which_nothing_is_there_is_named_unless_it_may_be_too_old() -> None:
    epoch, _ = follow([*map(link, chain_of(2, before="A").written)])

    found = judged([epoch], epoch.to)
    assert codes(found) == [Code.MISSING_EPOCH]
    assert "epoch A" in found[0].detail
    partial = Limits(epoch.to, SLACK, is_partial=True)
    assert not [*instance_findings([epoch], partial, is_expected=False, here="bucket/logs/")]


def test_of_several_epochs_the_one_that_was_written_last_counts() -> None:
    first, _ = follow([*map(link, chain_of(9).written)])
    second, _ = follow([*map(link, chain_of(2, epoch="B", began=BEGIN + 60).written)])

    assert newest_of([first, second]) is first


def test_who_knew_a_manifest_that_is_not_there_or_is_another_gives_that_away() -> None:
    epoch, _ = follow([*map(link, chain_of(3).written)])

    def found(number: int, sha256: str, epoch: Epoch | None = epoch) -> str:
        word = Word("E", number, "a" * 64, "the heartbeat of noon", 0.0)
        finding = word_finding("i", word, epoch, sha256)
        assert finding is None or finding.code is Code.CUT_TAIL
        return finding.detail if finding else ""

    assert found(3, "a" * 64) == found(1, "a" * 64) == ""
    assert found(2, "") == ""  # nothing is known of what is there
    says = "the heartbeat of noon knows number"
    assert found(4, "") == f"{says} 4 of epoch E, which is not there; the last is 3"
    assert found(2, "f" * 64) == f"{says} 2 of epoch E, which is another one"
    assert found(1, "", None) == f"{says} 1 of epoch E, of which nothing is there"


def test_an_epoch_says_where_the_one_before_it_ended() -> None:
    end: dict[str, object] = {"before": "B", "before_number": 9, "before_sha256": "b" * 64}
    chains = [chain_of(1), chain_of(1, epoch="B", before="A"), chain_of(1, epoch="C", **end)]
    epochs = [follow([*map(link, chain.written)])[0] for chain in chains]

    assert [*words_of(epochs)] == [Word("B", 9, "b" * 64, "epoch C", BEGIN)]


def after(first: Epoch, seconds_later: float, **about: object) -> Epoch:
    """An epoch that began so long after the other one's last manifest, and lives."""
    began = first.to + seconds_later
    return follow([*map(link, chain_of(9, epoch="B", began=began, **about).written)])[0]


def test_an_earlier_epoch_that_did_not_stop_is_followed_in_time_or_known_to_end_there() -> None:
    first, _ = follow([*map(link, chain_of(3).written)])
    due = first.due_seconds + SLACK

    def found(second: Epoch) -> list[Code]:
        said = codes(judged([first, second], second.to))
        assert said[0] is Code.NEW_EPOCH
        return said[1:]

    lost = "the journal was lost"
    assert found(after(first, due)) == []
    assert found(after(first, due + 1)) == [Code.ENDED]
    proof = {"before": first.name, "before_number": 3, "before_sha256": first.sha256}
    assert found(after(first, due + 1, **proof)) == []
    assert found(after(first, due + 1, **proof | {"before_number": 4})) == [Code.ENDED]
    assert found(after(first, due + 1, begins=lost, **proof)) == [Code.ENDED]
    assert found(after(first, due, begins=lost, before=first.name)) == []
    stopped = chain_of(2)
    stopped.write(because="stop")
    first, _ = follow([*map(link, stopped.written)])
    assert found(after(first, 1000 * HOUR)) == []


def test_of_two_chains_side_by_side_one_that_was_cut_has_ended() -> None:
    cut, _ = follow([*map(link, chain_of(4).written)])
    whole, _ = follow([*map(link, chain_of(10, epoch="B", began=BEGIN + 0.01).written)])
    long, _ = follow([*map(link, chain_of(10).written)])

    assert codes(judged([long, whole], whole.to)) == [Code.NEW_EPOCH]
    assert codes(judged([cut, whole], whole.to)) == [Code.NEW_EPOCH, Code.ENDED]


def test_an_epoch_that_began_within_another_is_another_writers() -> None:
    first, _ = follow([*map(link, chain_of(9).written)])

    def found(began: float) -> list[Code]:
        chain = chain_of(1, epoch="B", began=began)
        chain.write(because="stop", after=60)
        second, _ = follow([*map(link, chain.written)])
        return codes(judged([first, second], first.to))

    assert found(BEGIN + 4 * HOUR) == [Code.NEW_EPOCH, Code.ANOTHER_WRITER]
    assert found(BEGIN + SLACK) == [Code.NEW_EPOCH]
    assert found(first.to - SLACK) == [Code.NEW_EPOCH]


def test_a_clock_that_is_ahead_is_a_notice_and_hides_no_silence() -> None:
    chain = chain_of(3)
    links = [*map(link, chain.written)]
    ahead, _ = follow([replace(one, modified_at=one.modified_at - HOUR) for one in links])
    limits = Limits(ahead.end + 1, SLACK)

    assert codes(judged([ahead], ahead.end + 1)) == [Code.CLOCK_AHEAD]
    assert codes(judged([ahead], ahead.end + ahead.due_seconds + SLACK + 1)) == [
        Code.CLOCK_AHEAD,
        Code.ENDED,
    ]
    assert why_unentered(ahead.end - 60, [ahead], limits) is Unentered.PENDING
    assert why_unentered(ahead.end - HOUR / 2, [ahead], limits) is Unentered.WRONG


@pytest.mark.parametrize(
    ("begins", "is_there"),
    [
        ("the instance was i-1", True),
        ("the destination was s3://other/logs/; 0 of its entries are in no manifest", True),
        ("the destination was s3://bucket/; logs/; 0 of its entries are in no manifest", True),
        ("the destination was s3://bucket/logs/; 0 of its entries are in no manifest", False),
        ("the destination was https://server/bucket/logs/", False),
        ("the destination is new", False),
    ],
)
def test_an_epoch_is_excused_if_it_was_elsewhere(begins: str, *, is_there: bool) -> None:
    epoch, _ = follow([*map(link, chain_of(2, before="A", begins=begins).written)])
    assert codes(judged([epoch], epoch.to)) == [Code.MISSING_EPOCH] * (not is_there)


def test_holes_without_number_take_no_more_memory_than_some() -> None:
    chain = chain_of(700)
    epoch, findings = follow([*map(link, chain.written[::3])])

    assert len(findings) == 233
    assert len(epoch.holes) == 100
    assert all(epoch.is_in_hole(one.at, 0) for one in chain.written[1:697:3])
    assert not epoch.is_in_hole(chain.written[3].at - 1, 0)


def test_an_object_without_an_entry_is_excused_only_where_one_cannot_be_expected() -> None:
    chain = chain_of(10)
    epoch, _ = follow([*map(link, chain.written)])
    limits = Limits(epoch.to + 60, SLACK)

    def why(at: float) -> Unentered:
        return why_unentered(at, [epoch], limits)

    assert why(BEGIN) is Unentered.BEFORE
    assert why(BEGIN + 1) is Unentered.WRONG
    assert why(epoch.to - SLACK) is Unentered.WRONG
    assert why(epoch.to - SLACK + 1) is Unentered.PENDING
    assert why(epoch.to + 59) is Unentered.PENDING


@pytest.mark.parametrize("because", ["interval", "stop"])
def test_what_came_after_the_end_of_a_chain_is_not_pending(because: str) -> None:
    chain = chain_of(3)
    chain.write(because=because)
    epoch, _ = follow([*map(link, chain.written)])
    limits = Limits(epoch.to + 100 * HOUR, SLACK)

    assert why_unentered(epoch.to + SLACK, [epoch], limits) is Unentered.PENDING
    assert why_unentered(epoch.to + SLACK + 1, [epoch], limits) is Unentered.WRONG


def test_what_a_lost_journal_knew_is_excused_until_its_next_manifest_was_due() -> None:
    first, _ = follow([*map(link, chain_of(3).written)])
    again = chain_of(3, epoch="B", began=first.to + 50 * HOUR)
    second, _ = follow([*map(link, again.written)])
    limits = Limits(second.to, SLACK)

    def why(at: float) -> Unentered:
        return why_unentered(at, [first, second], limits)

    assert why(first.to + HOUR) is Unentered.JOURNAL_LOST
    assert why(first.to + 2 * HOUR + SLACK) is Unentered.JOURNAL_LOST
    assert why(first.to + 2 * HOUR + SLACK + 1) is Unentered.WRONG
    assert why(first.to - SLACK) is Unentered.WRONG


def test_what_a_missing_manifest_may_have_named_is_in_its_hole() -> None:
    chain = chain_of(10)
    links = [*map(link, chain.written)]
    epoch, _ = follow(links[:4] + links[5:])
    limits = Limits(epoch.to, SLACK)

    assert why_unentered(chain.written[4].at - 60, [epoch], limits) is Unentered.IN_HOLE
    assert why_unentered(chain.written[6].at, [epoch], limits) is Unentered.WRONG


@pytest.mark.parametrize(
    "changes",
    [
        {"key": ""},
        {"key": "logs/" + "x" * 1020},
        {"key": "logs/\ud800"},
        {"raw_start": -1},
        {"raw_start": 2},
        {"raw_end": 2**63},
        {"key": "logs/_manifests/instance=i/x"},
        {"size": -1},
        {"size": 2**63},
        {"sha256": "f" * 63},
        {"etag": "a b"},
        {"compression": "zip"},
        {"last_sent": "yesterday"},
        {"last_sent": "2026-01-01T00:00:00"},
        {"last_sent": "9999-12-31T23:59:59-14:00"},
        {"last_sent": "0001-01-01T00:00:00+14:00"},
    ],
)
def test_an_entry_that_no_shipper_writes_is_told_from_one_of_shippers(
    changes: dict[str, object],
) -> None:
    good = entry("logs/a", b"x")
    assert entry_problem(good, "logs/") == ""
    assert entry_problem(loss("logs/a"), "logs/") == ""
    assert entry_problem(replace(good, sha256="", etag=""), "logs/") == ""
    assert entry_problem(replace(loss("logs/a"), loss="duplicate"), "logs/") == ""

    assert entry_problem(replace(good, **changes), "logs/")  # type: ignore[arg-type]


def test_a_time_of_sending_that_is_not_known_is_none() -> None:
    good = entry("logs/a", b"x")
    assert sent_at(good) == BEGIN
    assert sent_at(replace(good, last_sent="")) == 0.0
    assert entry_problem(replace(good, last_sent=""), "logs/") == ""


def test_times_without_a_zone_are_none() -> None:
    assert seconds("2026-05-28T20:26:40.000Z") == 1_780_000_000
    with pytest.raises(ValueError, match="no zone"):
        seconds("2026-05-28T20:26:40")


@given(st.floats(0, 100), st.text(), st.lists(st.text(), max_size=20))
def test_a_sample_is_the_same_for_the_same_seed_and_grows_with_its_percentage(
    percent: float, seed: str, keys: list[str]
) -> None:
    for key in keys:
        assert is_sampled(key, percent, "s") == is_sampled(key, percent, "s")
        assert is_sampled(key, 100, "s")
        assert not is_sampled(key, 0, "s")
        if is_sampled(key, percent, "s"):
            assert is_sampled(key, 100 - (100 - percent) / 2, "s")


def test_a_sample_has_about_as_many_as_it_should_and_another_seed_has_others() -> None:
    keys = [f"logs/{number}" for number in range(10_000)]
    one = {key for key in keys if is_sampled(key, 10, "a")}
    other = {key for key in keys if is_sampled(key, 10, "b")}

    assert 900 < len(one) < 1100
    assert 50 < len(one & other) < 150


def test_every_code_has_a_hint_and_notices_are_no_work_of_an_attacker() -> None:
    assert set(HINTS) == set(Code)
    assert {Code.STOPPED, Code.NEW_EPOCH, Code.STRAY_KEY, Code.CLOCK_AHEAD} == NOTICES


def test_a_manifest_of_a_body_is_what_its_header_says() -> None:
    chain = chain_of(1)
    assert body_of(chain.written[0].header) == chain.written[0].body
