"""The monitoring kit: its alerts fire when they should, and it asks only for metrics there are."""

import contextlib
import json
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

from tests.machines.documents import PAGES, ROOT, anchors, quoted, rows
from tests.machines.instance import Instance
from tests.machines.needs import program_path

KIT = ROOT / "systemd" / "monitoring"
PAGE = "docs/observability.md"
RULES = KIT / "shipper.rules.yml"
PROMETHEUS = KIT / "prometheus.yaml"
HOURS = 3
"""How long the simulated time of a test is; a sample a minute."""


def alerts() -> dict[str, dict[str, Any]]:
    """Every alert by its name."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def metrics() -> set[str]:
    """Every metric; another test holds this table against the daemon's own."""
    return {quoted(row[0])[0] for row in rows("metric", PAGE)}


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((KIT / "grafana.json").read_text())
    return found


def expressions() -> Iterator[str]:
    """Every expression of the dashboard, as Grafana would send it."""
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            asked = target["expr"].replace("$__rate_interval", "5m")
            yield asked.replace("$instance", ".*")


def promtool(directory: Path, *command: str, document: object = None) -> str:
    """What it says; the document is its last argument."""
    arguments = [program_path("promtool"), *command]
    if document is not None:
        path = directory / "document.yml"
        path.write_text(yaml.safe_dump(document))
        arguments.append(str(path))
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_and_the_scrape_configuration_are_valid(tmp_path: Path) -> None:
    assert f"{len(alerts())} rules found" in promtool(tmp_path, "check", "rules", str(RULES))
    promtool(tmp_path, "check", "config", str(PROMETHEUS))


def test_every_alert_has_its_row_and_every_row_its_alert() -> None:
    documented = {
        quoted(row[0])[0]: (row[1], quoted(row[2])[0].replace("\\|", "|"), row[3])
        for row in rows("alert", PAGE)
    }
    assert documented == {
        name: (rule["labels"]["severity"], rule["expr"], rule.get("for", "at once"))
        for name, rule in alerts().items()
    }
    assert {severity for severity, _, _ in documented.values()} == {"critical", "warning"}


def test_every_alert_names_its_section_of_the_runbook() -> None:
    sections = re.findall(r"^### (Shipper\w+)$", PAGES[PAGE], re.MULTILINE)
    assert sections == list(alerts())
    assert {rule["annotations"]["runbook"] for rule in alerts().values()} == {
        f"{PAGE}#{name}" for name in anchors(PAGE) if name.startswith("shipper")
    }


def test_the_kit_asks_only_for_metrics_there_are() -> None:
    text = "".join(path.read_text() for path in (RULES, KIT / "grafana.json"))
    asked = set(re.findall(r"\bshipper_[a-z_]+", text))
    assert len(asked) > 20
    assert asked <= metrics()


def series(name: str, labels: str = "") -> str:
    separator = "," if labels else ""
    return f'{name}{{instance="a",job="shipper"{separator}{labels}}}'


STEADY: dict[str, str] = {
    'up{instance="a",job="shipper"}': "1",
    series("shipper_start_timestamp_seconds"): "100x60 200x40 300x20 400x20 500x60",
    series("shipper_ailments"): "0",
    series("shipper_destination_gate_open", 'destination="default"'): "1",
    series("shipper_unshipped_files", 'watch="app"'): "1",
    series("shipper_unshipped_files", 'watch="web"'): "2",
    series("shipper_last_success_timestamp_seconds"): "now",
    series("shipper_oldest_unshipped_seconds"): "3600",
    series("shipper_unshipped_age_seconds", 'watch="app"'): "93600",
    series("shipper_oldest_waiting_seconds"): "86400",
    series("shipper_overdue_seconds", 'watch="app"'): "0",
    series("shipper_lost_files", 'watch="app"'): "0",
    series("shipper_parked_files", 'watch="app"'): "0",
    series("shipper_parked_files", 'watch="web"'): "0",
    series("shipper_refused_files", 'watch="app",code="HardLinked"'): "0",
    series("shipper_disk_used_ratio", 'directory="/var/log"'): "0.95",
    series("shipper_disk_unshipped_bytes", 'directory="/var/log"'): "1000",
    series("shipper_credentials_state", 'state="stale",code="Unreachable"'): "1",
    series("shipper_credentials_expiry_timestamp_seconds"): "soon",
    series("shipper_manifest_last_success_timestamp_seconds", 'destination="default"'): "5400",
    series("shipper_heartbeat_last_success_timestamp_seconds"): "5400",
    series("shipper_reload_refused"): "0",
    series("shipper_clock_skew_seconds"): "-60",
    series("shipper_bugs_total"): "7",
}
"""As bad as it may be without an alert. ``now`` and ``soon`` grow with the time."""
GROWS = {"now": f"0+60x{60 * HOURS}", "soon": f"300+60x{60 * HOURS}"}
CASES: list[tuple[str, dict[str, str]]] = [
    ("", {}),
    ("ShipperSilent", {'up{instance="a",job="shipper"}': "0"}),
    ("ShipperSilent", dict.fromkeys(STEADY, "")),
    (
        "ShipperRestarts",
        {
            # A crash loop: every other minute nothing answers, and what does has just begun.
            'up{instance="a",job="shipper"}': f"1{' 0 1' * 30 * HOURS}",
            series("shipper_start_timestamp_seconds"): " stale ".join(
                str(100 * minute) for minute in range(30 * HOURS + 1)
            ),
        },
    ),
    ("ShipperUnwell", {series("shipper_ailments"): "1"}),
    (
        "ShipperGateShut",
        {series("shipper_destination_gate_open", 'destination="default"'): "0"},
    ),
    ("ShipperNothingShipped", {series("shipper_last_success_timestamp_seconds"): "3600"}),
    (
        "",
        {
            series("shipper_last_success_timestamp_seconds"): "0",
            series("shipper_unshipped_files", 'watch="app"'): "0",
            series("shipper_unshipped_files", 'watch="web"'): "0",
        },
    ),
    (
        "ShipperFilesParked",  # and not that nothing is shipped, nor that a file is late
        {
            series("shipper_last_success_timestamp_seconds"): "0",
            series("shipper_oldest_unshipped_seconds"): "9000",
            series("shipper_unshipped_files", 'watch="web"'): "0",
            series("shipper_parked_files", 'watch="app"'): "1",
        },
    ),
    ("ShipperFileLate", {series("shipper_oldest_unshipped_seconds"): "3601"}),
    ("ShipperBytesAtRisk", {series("shipper_unshipped_age_seconds", 'watch="app"'): "93601"}),
    ("ShipperFileNotSealed", {series("shipper_oldest_waiting_seconds"): "86401"}),
    ("ShipperLogOverdue", {series("shipper_overdue_seconds", 'watch="app"'): "1"}),
    ("ShipperFilesLost", {series("shipper_lost_files", 'watch="app"'): "1"}),
    ("ShipperFilesParked", {series("shipper_parked_files", 'watch="app"'): "1"}),
    (
        "ShipperFilesRefused",
        {series("shipper_refused_files", 'watch="app",code="HardLinked"'): "1"},
    ),
    (
        "ShipperDiskFilling",
        {series("shipper_disk_unshipped_bytes", 'directory="/var/log"'): "0+10x180"},
    ),
    (
        "",
        {
            series("shipper_disk_used_ratio", 'directory="/var/log"'): "0.9",
            series("shipper_disk_unshipped_bytes", 'directory="/var/log"'): "0+10x180",
        },
    ),
    *(
        (
            "ShipperCredentialsBad",
            {series("shipper_credentials_state", f'state="{state}",code="NoRole"'): "1"},
        )
        for state in ("extended", "expired", "misconfigured")
    ),
    (
        "ShipperCredentialsExpiring",
        {series("shipper_credentials_expiry_timestamp_seconds"): "239+60x180"},
    ),
    ("", {series("shipper_credentials_expiry_timestamp_seconds"): "0"}),
    (
        "ShipperManifestLate",
        {
            series(
                "shipper_manifest_last_success_timestamp_seconds", 'destination="default"'
            ): "-600"
        },
    ),
    ("ShipperHeartbeatLate", {series("shipper_heartbeat_last_success_timestamp_seconds"): "-600"}),
    ("ShipperReloadRefused", {series("shipper_reload_refused"): "1"}),
    ("ShipperClockWrong", {series("shipper_clock_skew_seconds"): "-61"}),
    ("ShipperBug", {series("shipper_bugs_total"): "7x150 8x30"}),
]
"""What fires, and what is otherwise than in ``STEADY``."""
WORDS = {
    "ShipperFileLate": "a file has waited on a for 1h 0m 1s",
    "ShipperFilesRefused": "1 files of watch app on a are not shipped: HardLinked",
    "ShipperGateShut": "nothing is sent from a to default",
    "ShipperNothingShipped": "3 files wait on a, and none was shipped for half an hour",
}


def scenario(fires: str, changes: dict[str, str]) -> dict[str, Any]:
    """One test of promtool's: exactly these alerts fire at the end."""
    found = {name: GROWS.get(values, values) for name, values in (STEADY | changes).items()}
    samples = [{"labels": f'{{alertname="{fires}"}}', "value": 1}] if fires else []
    return {
        "interval": "1m",
        "input_series": [
            {"series": name, "values": values if "x" in values else f"{values}x{60 * HOURS}"}
            for name, values in found.items()
            if values
        ],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": f"{HOURS}h",
                "exp_samples": samples,
            }
        ],
    }


def test_every_alert_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    assert {fires for fires, _ in CASES} == {"", *alerts()}
    document = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [scenario(fires, changes) for fires, changes in CASES],
    }
    assert "SUCCESS" in promtool(tmp_path, "test", "rules", document=document)


def test_the_test_of_the_alerts_tells_one_that_does_not_fire(tmp_path: Path) -> None:
    document = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [scenario("ShipperBug", {})],
    }
    with pytest.raises(AssertionError, match="FAILED"):
        promtool(tmp_path, "test", "rules", document=document)


@pytest.mark.parametrize("name", sorted(WORDS))
def test_the_summary_of_an_alert_says_what_and_where(tmp_path: Path, name: str) -> None:
    changes = next(changes for fires, changes in CASES if fires == name)
    rule, labels = alerts()[name], dict(re.findall(r'(\w+)="([^"]+)"', next(iter(changes))))
    test = scenario(name, changes) | {
        "alert_rule_test": [
            {
                "eval_time": f"{HOURS}h",
                "alertname": name,
                "exp_alerts": [
                    {
                        "exp_labels": labels | rule["labels"],
                        "exp_annotations": rule["annotations"] | {"summary": WORDS[name]},
                    }
                ],
            }
        ]
    }
    document = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}
    promtool(tmp_path, "test", "rules", document=document)


def test_every_expression_of_the_dashboard_is_valid(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": asked} for number, asked in enumerate(expressions())
    ]
    document = {"groups": [{"name": "dashboard", "rules": rules}]}
    assert f"{len(rules)} rules found" in promtool(tmp_path, "check", "rules", document=document)


def test_the_dashboard_reads_whichever_prometheus_is_chosen_and_has_no_id_of_its_own() -> None:
    document = dashboard()
    assert (document["id"], document["uid"]) == (None, None)
    panels = document["panels"]
    sources = [panel["datasource"] for panel in panels]
    sources += [target["datasource"] for panel in panels for target in panel["targets"]]
    assert all(one == {"type": "prometheus", "uid": "${datasource}"} for one in sources)
    assert [one["name"] for one in document["templating"]["list"]] == ["datasource", "instance"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_the_agent_takes_the_metrics_that_it_names_from_what_it_scrapes() -> None:
    """The fields are those that AWS documents for ``prometheus`` on EC2."""
    document = json.loads((KIT / "cloudwatch-agent.json").read_text())
    prometheus = document["logs"]["metrics_collected"]["prometheus"]
    assert set(prometheus) == {"log_group_name", "prometheus_config_path", "emf_processor"}
    assert prometheus["prometheus_config_path"] in PAGES[PAGE]
    emf = prometheus["emf_processor"]
    assert set(emf) == {
        "metric_declaration_dedup",
        "metric_namespace",
        "metric_unit",
        "metric_declaration",
    }
    (declaration,) = emf["metric_declaration"]
    assert set(declaration) == {
        "source_labels",
        "label_matcher",
        "dimensions",
        "metric_selectors",
    }
    (job,) = yaml.safe_load(PROMETHEUS.read_text())["scrape_configs"]
    assert re.search(declaration["label_matcher"], job["job_name"])
    taken = [
        {name for name in metrics() if re.search(selector, name)}
        for selector in declaration["metric_selectors"]
    ]
    assert all(taken)
    assert set().union(*taken) == set(emf["metric_unit"])
    assert len(emf["metric_unit"]) == 9


NOT_YET = (
    "shipper_retries_total",
    "shipper_manifest_last_success_timestamp_seconds",
    "shipper_heartbeat_last_success_timestamp_seconds",
)
"""Nothing was repeated, and the first manifest comes later than the test ends."""


@pytest.mark.system
def test_a_real_prometheus_has_data_for_every_panel_and_evaluates_every_alert(
    instance: Any, tmp_path: Path
) -> None:
    port, own_port = free_port(), free_port()
    machine: Instance = instance(
        watch='expect_every = "1h"',
        more=f'[http]\nlisten = "127.0.0.1:{port}"\n[disk]\nhigh_water = "99%"\n',
    )
    (machine.logs / "link.log.1").symlink_to("/dev/null")
    machine.write("app.log.1", b"a line\n" * 1000)
    machine.start()
    machine.wait_until_shipped(1)
    scrape = {"job_name": "shipper", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
    every = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config = {"global": every, "rule_files": [str(RULES)], "scrape_configs": [scrape]}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    arguments = [
        program_path("prometheus"),
        f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/tsdb",
        f"--web.listen-address=127.0.0.1:{own_port}",
    ]
    with running(arguments, tmp_path / "prometheus.log"):

        def answer(path: str, **query: str) -> Any:
            try:
                asked = f"http://127.0.0.1:{own_port}/api/v1/{path}?{urlencode(query)}"
                with urlopen(asked, timeout=10) as found:
                    return json.load(found)["data"]
            except OSError:
                return {"result": [], "groups": []}

        def empty() -> set[str]:
            """What has no data and should."""
            panels = (one for one in expressions() if not any(name in one for name in NOT_YET))
            return {one for one in panels if not answer("query", query=one)["result"]}

        machine.wait_for(lambda: not empty(), "data for every panel")
        machine.wait_for(
            lambda: answer("query", query='ALERTS{alertname="ShipperFilesRefused"}')["result"],
            "the alert of the refused file",
        )
        rules = [rule for group in answer("rules")["groups"] for rule in group["rules"]]
        assert {rule["name"]: rule["health"] for rule in rules} == dict.fromkeys(alerts(), "ok")
        pending = {rule["name"] for rule in rules if rule["state"] != "inactive"}
        assert pending == {"ShipperFilesRefused", "ShipperManifestLate", "ShipperUnwell"}
        assert "firing" not in {rule["state"] for rule in rules}
    assert machine.stop() == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(arguments: list[str], log: Path) -> Iterator[None]:
    """A program of this test's, for as long as it lasts."""
    with log.open("wb") as output, subprocess.Popen(arguments, stderr=output) as child:
        try:
            yield
        finally:
            child.terminate()
