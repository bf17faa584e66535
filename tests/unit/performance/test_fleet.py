"""The simulated fleet: what holds for any of its figures, and that the document shows them."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from shipper.core.manifests import Chain, first_wait
from shipper.core.types import AfterUpload
from tests.performance.fleet.__main__ import BEGIN, DOCUMENT, END, SEED, main
from tests.performance.fleet.bucket import BucketModel
from tests.performance.fleet.report import cost_table, row
from tests.performance.fleet.scenarios import HOSTS, MIDNIGHT, SCENARIOS, Outcome, Scenario, run

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
TENTH = 1000
"""Of the hosts, against a tenth of the limits, each for ten."""


def happened(scenario: Scenario, aggregate: int = 200) -> Outcome:
    """With each host for so many: a fleet of the same shape that takes a second."""
    return run(replace(scenario, aggregate=aggregate), seed=3)


@pytest.mark.parametrize(
    "scenario",
    [
        one
        for one in SCENARIOS
        if one.name in ("midnight", "splay-1m", "delete", "lists", "outage-daily")
    ],
    ids=lambda one: one.name,
)
def test_every_file_is_stored_once_and_nothing_is_left(scenario: Scenario) -> None:
    outcome = happened(scenario)
    assert outcome.stored == outcome.files == 100_000
    assert outcome.left == 0
    assert outcome.total("put") == outcome.stored, "no object was stored twice"
    assert outcome.total("put 412") == 0


def test_no_second_sees_more_stored_than_the_bucket_takes() -> None:
    outcome = happened(MIDNIGHT)
    assert 3000 < outcome.peak("put") <= 3500 * 1.1


def test_a_fleet_that_begins_together_is_refused_often_and_leaves_the_bucket_no_idle_second() -> (
    None
):
    """A refusal comes at once, so each file is asked for again and again; nothing is given up."""
    outcome = happened(MIDNIGHT, aggregate=100)
    refused = dict(outcome.per_second("put 503"))
    begun = min(second for second, count in refused.items() if count)
    assert refused[begun] > 20 * 3500, "the first wave comes before anybody knows"
    stored = dict(outcome.per_second("put"))
    assert all(stored[second] > 3000 for second in range(begun + 1, begun + 15))
    assert sum(outcome.tries) / len(outcome.tries) < 12
    assert outcome.tries[-1] <= 24


def test_a_splay_of_a_minute_keeps_the_fleet_below_the_limit() -> None:
    outcome = happened(replace(MIDNIGHT, splay_seconds=60.0), aggregate=10)
    assert outcome.peak("put", "put 503") < 3500
    assert outcome.total("put 503") < outcome.files / 50
    assert outcome.stored_at[-1] < 70


def test_a_backlog_leaves_as_fast_as_the_bucket_takes_it() -> None:
    backlog = Scenario(
        name="backlog",
        title="",
        files_at_once=0,
        files_an_hour=50.0,
        backlog_hours=1.0,
        ends_at=1.0,
        aggregate=50,
    )
    outcome = run(backlog, seed=3)
    assert outcome.stored == outcome.files > 500_000
    at, ideal = outcome.stored_at, outcome.files / 3500
    assert at[len(at) // 2] < 0.6 * ideal
    assert at[len(at) * 9 // 10] < 1.2 * ideal
    assert at[-1] < 2.5 * ideal, "who was put off when the others were done comes back in minutes"


def test_refused_listings_hold_up_removals_and_lose_nothing() -> None:
    scenario = replace(
        MIDNIGHT, after_upload=AfterUpload.DELETE, bucket=BucketModel(lists_a_second=1000.0)
    )
    outcome = happened(scenario)
    assert outcome.total("list 503") > 0
    assert outcome.peak("list") <= 1100
    assert outcome.total("list") == 2 * outcome.files
    assert outcome.left == 0


def test_without_sts_the_credentials_in_use_go_on_and_all_hosts_find_their_way_back() -> None:
    scenario = replace(
        BY_NAME["brown-out"],
        files_an_hour=5.0,
        brown_out=(3600.0, 3600.0 + 5400.0),
        measured_from=9000.0,
        ends_at=9300.0,
    )
    outcome = happened(scenario, aggregate=250)
    assert outcome.stored == outcome.files
    expired = dict(outcome.per_second("put 400"))
    assert not any(expired.get(second, 0) for second in range(3600, 3600 + 300)), "an hour's life"
    assert outcome.total("put 400") > 0
    assert outcome.sts.peak("issued", "throttled") * 250 < 2 * 600


def test_a_prefix_that_splits_takes_more() -> None:
    alone = happened(MIDNIGHT)
    splitting = happened(replace(MIDNIGHT, bucket=BucketModel(split_seconds=2.0)))
    assert splitting.partitions > alone.partitions == 1
    assert splitting.stored_at[-1] < alone.stored_at[-1]


def test_ten_hosts_for_one_give_the_same_figures() -> None:
    """What ``aggregate`` claims."""
    scenario = replace(MIDNIGHT, bucket=BucketModel(350.0, 550.0))
    coarse, fine = (
        run(replace(scenario, aggregate=aggregate), seed=3, hosts=TENTH) for aggregate in (5, 1)
    )
    assert coarse.files == fine.files
    for of in (len, sum):
        assert of(coarse.tries) * 5 == pytest.approx(of(fine.tries), rel=0.1)
    middle = len(fine.stored_at) // 2
    assert coarse.stored_at[middle // 5] == pytest.approx(fine.stored_at[middle], rel=0.1)


def test_the_same_seed_gives_the_same_row() -> None:
    assert row(happened(MIDNIGHT)) == row(happened(MIDNIGHT))


def test_manifests_of_a_fleet_that_starts_together_are_spread_over_the_hour() -> None:
    new = Chain("epoch", 0.0, "", "", "i-1", "")
    rng = Random(3)
    per_second = Counter(int(first_wait(new, 0.0, 3600.0, rng.random())) for _ in range(HOSTS))
    assert max(per_second.values()) < 20


def test_the_document_shows_what_the_tool_prints() -> None:
    """The cheapest row, and the costs; the others were written by the same run."""
    shown = Path(DOCUMENT).read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]
    assert row(run(MIDNIGHT, seed=SEED)) in shown
    assert "\n".join(cost_table(HOSTS)) in shown
    for scenario in SCENARIOS:
        assert f"| {scenario.title} |" in shown


def test_an_unknown_scenario_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["nonsense"])
    assert "there are midnight," in capsys.readouterr().err
