"""Two examples of every command, which end its ``--help`` and its part of the manual."""

import argparse
import textwrap

_HEAD = "examples:"
Example = tuple[str, str]
"""The words behind ``shipper``, and what they are for."""

EXAMPLES: dict[str, tuple[Example, ...]] = {
    "init": (
        ("init", "asks, and writes /etc/shipper/shipper.toml"),
        ("init --yes --bucket my-logs --directory /srv/app/logs", "for scripts"),
    ),
    "run": (
        ("run", "what the unit starts"),
        ("run --config ./shipper.toml", "with another configuration, on a terminal"),
    ),
    "ship": (
        ("ship", "what is rotated, from cron or before an image is made"),
        ("ship --live", "live files, too, when the machine is about to end"),
    ),
    "check": (
        ("check", "every probe, each with a hint where it fails"),
        ("check --offline", "what needs no network; 78 if a key is wrong"),
    ),
    "plan": (
        ("plan", "what would be shipped now, under which key"),
        ("plan --json", "the same for programs"),
    ),
    "status": (
        ("status", "what is shipped, what is not, and why"),
        ("status --watch", "again every two seconds"),
    ),
    "explain": (
        ("explain /var/log/nginx/access.log.1", "why it is not in S3, or that it is"),
        ("explain 4711", "the shipment that `shipper status` shows under this ID"),
    ),
    "retry": (
        ("retry 4711", "one shipment that is parked or lost"),
        ("retry --all", "all that are parked, and at once what waits for an attempt"),
    ),
    "acknowledge": (
        ("acknowledge 4711", "one lost log"),
        ("acknowledge --all", "every lost log"),
    ),
    "audit": (
        ("audit", "everything that this host has shipped"),
        (
            "audit --manifests --bucket my-logs --since 7d",
            "from anywhere, all that instances told",
        ),
    ),
    "credentials": (
        ("credentials", "whose they are, and until when"),
        ("credentials --json", "the same for programs"),
    ),
    "find": (
        ("find --instance i-0abc --from yesterday", "one host's logs since yesterday, 00:00 UTC"),
        ("find --watch nginx --name 'access.log*' --from 2h", "of all hosts, the last two hours"),
    ),
    "cat": (
        ("cat --instance i-0abc --name error.log --from 2025-11-29", "from that day on"),
        ("cat --watch nginx --name 'access.log*' --from 2h", "of all hosts, the last two hours"),
    ),
    "fetch": (
        ("fetch --instance i-0abc --from 7d --into ./logs", "a week of one host"),
        ("fetch --watch audit --to 2025-10-31 --bucket my-logs --into /srv/case", "of all hosts"),
    ),
    "fleet": (
        ("fleet --bucket my-logs", "every instance, those first who need somebody"),
        ("fleet --ill --expect ids.txt", "and who of the list never wrote"),
    ),
    "iam": (
        ("iam commands", "the steps for the aws CLI"),
        ("iam policy --require-tls", "the role's policy, with a condition more"),
    ),
    "config": (
        ("config show", "what is in effect, and why"),
        ("config schema", "for an editor: #:schema ./shipper.schema.json"),
    ),
    "sql": (
        ("sql duckdb --bucket my-logs --query overdue", "pipe it into duckdb: silent watches"),
        ("sql athena", "for the bucket of the configuration: a statement at a time"),
    ),
    "mock-imds": (
        ("mock-imds --listen 127.0.0.1:1338", "with role and instance made up"),
        ("mock-imds --tag Env=test --lifetime 60s", "with a tag, and keys that end soon"),
    ),
    "demo": (
        ("demo", "everything once, on this machine"),
        ("demo --keep", "and the servers left running"),
    ),
}


def end_with_examples(parser: argparse.ArgumentParser) -> None:
    """Put the examples behind what the command says at the end of its help; once."""
    command, said = parser.prog.rpartition(" ")[2], parser.epilog or ""
    if command not in EXAMPLES or _HEAD in said:
        return
    if parser.formatter_class is argparse.HelpFormatter:
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        said = textwrap.fill(said, 80)
    lines = [f"  shipper {words}\n      {says}" for words, says in EXAMPLES[command]]
    before = f"{said.rstrip()}\n\n" if said else ""
    parser.epilog = before + "\n".join([_HEAD, *lines])
