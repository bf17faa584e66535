"""``shipper init`` as an operator types it, on a terminal and in scripts."""

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shipper.cli.init import next_step
from shipper.cli.main import main
from shipper.config.load import load
from tests.machines.here import Here
from tests.machines.instance import Instance
from tests.machines.waiting import LONGEST_SECONDS, wait_for

Make = Callable[..., Instance]


class Terminal:
    """A command that has a terminal: what it shows, and what somebody types."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "shipper", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        os.close(theirs)
        self.shown = ""

    def wait_for(self, text: str) -> None:
        """Until it is shown, behind what was waited for before."""
        until = time.monotonic() + LONGEST_SECONDS
        while text not in self.shown:
            assert time.monotonic() < until, self.shown
            assert self._read(), self.shown
        self.shown = self.shown.partition(text)[2]

    def type(self, text: str) -> None:
        self.type_bytes(text.encode())

    def type_bytes(self, typed: bytes) -> None:
        os.write(self._ours, typed)

    def interrupt(self) -> None:
        """As who presses Ctrl-C again where nothing happens: Python misses one that comes just
        before it begins to read."""

        def is_over() -> bool:
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
            return self.process.poll() is not None

        wait_for(is_over, "the end")

    def end(self) -> tuple[int, str]:
        """The exit code, and what was shown at last."""
        while self._read():
            pass
        return self.process.wait(LONGEST_SECONDS), self.shown

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)

    def _read(self) -> bool:
        if not select.select([self._ours], [], [], LONGEST_SECONDS)[0]:
            return False
        try:
            read = os.read(self._ours, 65536)
        except OSError:  # EIO: the other end is closed
            return False
        self.shown += read.decode(errors="replace").replace("\r\n", "\n")
        return bool(read)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    made: list[Terminal] = []

    def start(*arguments: str, **environment: str) -> Terminal:
        made.append(Terminal(list(arguments), environment))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Directories as ``/var/log`` has them."""
    top = tmp_path / "log"
    for name, body in {
        "syslog": b"now\n",
        "syslog.1": b"before\n",
        "nginx/access.log": b"now\n",
        "nginx/access.log.1": b"1234567890",
        "nginx/access.log.2": b"12345",
        "nginx/error.log.1": b"",
        "app/deep/app.log-20261101": b"deep\n",
        "quiet/now.log": b"now\n",
        "conf/app.conf.1": b"no log\n",
    }.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    (top / "elsewhere").symlink_to(tmp_path)
    return top


def rows_of(shown: str) -> list[tuple[str, ...]]:
    """Number, directory, files and bytes of what was found."""
    return re.findall(r"^ *(\d+)  (\S+) +(\d+) files +([\d,]+) bytes$", shown, re.MULTILINE)


def test_a_new_user_answers_four_questions_and_has_a_configuration_that_was_tried(
    instance: Make, terminal: Callable[..., Terminal], logs: Path, tmp_path: Path
) -> None:
    machine = instance()
    path = tmp_path / "etc" / "shipper.toml"
    shell = terminal(
        *("init", "--below", str(logs), "--output", str(path)),
        *("--endpoint-url", machine.moto.url),
        **machine.environment,
        STATE_DIRECTORY=str(tmp_path / "state"),
    )
    shell.wait_for("Bucket: ")
    shell.type("My Bucket\n")
    shell.wait_for("bucket: 'My Bucket' is not a bucket's name")
    shell.wait_for("Bucket: ")
    shell.type(f"{machine.bucket}\n")
    shell.wait_for("Prefix of every key, with its slash [logs/]: ")
    shell.type("/web/\n")
    shell.wait_for("prefix: begins with a slash")
    shell.type("web\n")
    shell.wait_for("prefix: web/, with its slash")
    shell.wait_for("The bucket's region (empty: the instance's): ")
    shell.type("\n")
    shell.wait_for("Which of these, by number [all]: ")
    shell.type("7\n")
    shell.wait_for("numbers from 1 to 3, or all")
    shell.wait_for("[all]: ")
    shell.type("1, 3\n")
    code, shown = shell.end()
    assert code == 0, shown
    assert f"written: {path}" in shown
    assert "# What AWS must be told, once: shipper iam commands" in shown
    assert "aws iam" not in shown, "another vendor's server is no AWS"
    assert f"\nnext: shipper check --config {path}, and: shipper run --config {path}\n" in shown
    assert f"ok    bucket {machine.bucket} (listing)" in shown
    assert "left alone: log: 1 files match nothing, 1 of them look rotated" in shown
    assert "such as app/deep/app.log-20261101" in shown
    assert "nginx: access.log.1: to be shipped\n    web/nginx/i-" in shown
    assert "app.log-20261101: to be shipped" not in shown
    found = load(str(path), {})
    assert (found.destination.bucket, found.destination.prefix) == (machine.bucket, "web/")
    assert [(one.name, one.recursive, one.exclude) for one in found.watches] == [
        ("log", False, ("nginx/**",)),
        ("nginx", True, ()),
    ]
    assert path.stat().st_mode & 0o777 == 0o644
    assert path.parent.stat().st_mode & 0o777 == 0o755
    assert os.listdir(path.parent) == ["shipper.toml"]


def test_what_each_directory_would_ship_is_shown(
    capsys: pytest.CaptureFixture[str], here: Here, instance: Make, logs: Path, tmp_path: Path
) -> None:
    machine, path = instance(), tmp_path / "new.toml"
    here.run(
        *(machine, "init", "--below", str(logs), "--output", str(path), "--bucket", "b-1"),
        *("--offline", "--yes"),
        code=None,
    )
    text = path.read_text()
    assert re.findall(r'^directory = "(.*)"$', text, re.MULTILINE) == [
        str(logs),
        str(logs / "app"),
        str(logs / "nginx"),
    ]
    assert text.startswith("#:schema file:///usr/share/shipper/shipper.schema.json\n")
    assert text.count("# An absolute path. A link on the way") == 1


def test_the_files_and_bytes_are_those_that_a_watch_would_ship(
    logs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], here: Here
) -> None:
    del here
    words = ["--below", str(logs), "--output", str(tmp_path / "new.toml"), "--offline", "--yes"]
    main(["init", "--bucket", "b-1", *words])
    assert rows_of(capsys.readouterr().out) == [
        ("1", str(logs), "1", "7"),
        ("2", str(logs / "app"), "1", "5"),
        ("3", str(logs / "nginx"), "2", "15"),
    ]


def test_a_script_names_everything_by_options(
    tmp_path: Path, here: Here, capsys: pytest.CaptureFixture[str]
) -> None:
    del here
    one, other, path = tmp_path / "a" / "logs", tmp_path / "b" / "logs", tmp_path / "new.toml"
    one.mkdir(parents=True)
    words = ["--bucket", "logs-${STAGE:-test}", "--region", "eu-west-1", "--prefix", ""]
    words += ["--directory", str(one), "--directory", str(other), "--output", str(path)]
    code = main(["init", "--yes", "--offline", *words])
    said = capsys.readouterr()
    assert code == 1, "one directory is not there"
    assert "aws iam create-role" in said.out
    assert "next: first correct what is WRONG above; then shipper check --config" in said.out
    assert "written: " in said.out
    assert "NotFound" in said.out
    found = load(str(path), {})
    assert found.destination.bucket == "logs-test"
    assert (found.destination.region, found.destination.prefix) == ("eu-west-1", "")
    names = ["logs", f"{other}".strip("/").replace("/", "-")]
    assert [watch.name for watch in found.watches] == names


def test_without_a_terminal_and_a_bucket_it_says_so_and_does_not_wait(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "shipper", "init", "--output", str(tmp_path / "new.toml")],
        stdin=subprocess.PIPE,
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr == "shipper init: no terminal to ask on: give --bucket NAME\n"
    assert os.listdir(tmp_path) == []


def test_a_file_that_is_there_is_replaced_only_if_somebody_says_so(
    tmp_path: Path, logs: Path, here: Here, capsys: pytest.CaptureFixture[str]
) -> None:
    del here
    path = tmp_path / "etc.toml"
    path.write_text("# mine\n")
    words = ["init", "--yes", "--offline", "--bucket", "b-1", "--below", str(logs)]
    assert main([*words, "--output", str(path)]) == 1
    assert "FileExists" in capsys.readouterr().err
    assert path.read_text() == "# mine\n"
    main([*words, "--output", str(path), "--force"])
    assert 'bucket = "b-1"' in path.read_text()


def test_on_a_terminal_it_asks_before_it_replaces_a_file(
    terminal: Callable[..., Terminal], logs: Path, tmp_path: Path
) -> None:
    path = tmp_path / "there.toml"
    for answer, code in (("\n", 1), ("no\n", 1), ("y\n", 0)):
        path.write_text("# mine\n")
        shell = terminal(
            *("init", "--offline", "--bucket", "b-1", "--prefix", "x/"),
            *("--endpoint-url", "http://127.0.0.1:9"),
            *("--directory", str(logs / "nginx"), "--output", str(path)),
            AWS_EC2_METADATA_DISABLED="true",
            STATE_DIRECTORY=str(tmp_path / "state"),
        )
        shell.wait_for("Replace it? [y/N]: ")
        shell.type(answer)
        if not code:
            shell.wait_for("The bucket's region (empty: the instance's): ")
            shell.type("garage\n")  # as servers of other vendors call it
        assert shell.end()[0] == code
        assert (path.read_text() == "# mine\n") == bool(code)


@pytest.mark.parametrize(
    ("typed", "code"), [(b"\x04", 1), (b"\x03", 130)], ids=["end of input", "Ctrl-C"]
)
def test_whoever_stops_in_the_middle_leaves_nothing_behind(
    typed: bytes, code: int, terminal: Callable[..., Terminal], logs: Path, tmp_path: Path
) -> None:
    path = tmp_path / "etc" / "new.toml"
    path.parent.mkdir()
    shell = terminal("init", "--below", str(logs), "--output", str(path))
    shell.wait_for("Bucket: ")
    shell.type("b-1\n")
    shell.wait_for("[logs/]: ")
    if code == 130:
        shell.interrupt()
    else:
        shell.type(typed.decode())
    found, shown = shell.end()
    assert found == code, shown
    assert ("nothing was written" in shown) == (code == 1)
    assert os.listdir(path.parent) == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--bucket", "b-1", "--directory", "$logs"], 78, "is not an absolute path"),
        (["--bucket", "B 1", "--directory", "/srv"], 78, "'B 1' is not a bucket's name"),
        (["--bucket", "b-1", "--directory", "/srv", "--prefix", "/a"], 78, "begins with a slash"),
        (
            ["--bucket", "b-1", "--directory", "/srv", "--directory", "/srv/x"],
            78,
            "would ship the same files twice",
        ),
        (["--bucket", "b-1", "--below", "/nowhere/at/all"], 1, "NoLogs"),
        (["--bucket", "${NO_SUCH}", "--directory", "/srv"], 78, "the environment has no NO_SUCH"),
        (["--bucket", "b\udcffcc", "--directory", "/srv"], 78, r"'b\udcffcc' is not UTF-8"),
        (["--bucket", "b-1", "--directory", "/sr\udcff"], 78, r"'/sr\udcff' is not UTF-8"),
        (["--bucket", "b-1", "--directory", "/srv", "--prefix", "\x1b[31m"], 78, r"\x1b"),
    ],
)
def test_what_would_be_no_good_configuration_is_not_written(
    words: list[str],
    code: int,
    said: str,
    tmp_path: Path,
    here: Here,
    capsys: pytest.CaptureFixture[str],
) -> None:
    del here
    path = tmp_path / "etc" / "new.toml"
    path.parent.mkdir()
    assert main(["init", "--yes", "--output", str(path), *words]) == code
    error = capsys.readouterr().err
    assert said in error
    assert str(path) in error or code == 1
    assert os.listdir(path.parent) == []


def test_a_place_that_cannot_be_written_to_is_said_with_a_hint(
    tmp_path: Path, logs: Path, here: Here, capsys: pytest.CaptureFixture[str]
) -> None:
    del here
    (tmp_path / "none").touch()
    words = ["init", "--yes", "--bucket", "b-1", "--below", str(logs)]
    assert main([*words, "--output", str(tmp_path / "none" / "new.toml")]) == 1
    said = capsys.readouterr()
    assert f"NotWritten: {tmp_path}/none/new.toml: {tmp_path}/none is no directory" in said.err
    assert "hint: run it as root; or --output FILE" in said.err
    assert said.out == "", "it is said before anything is looked for"
    assert main([*words, "--output", "/proc/new.toml"]) == 1
    assert "NotWritten: /proc/new.toml: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "is_installed", "step"),
    [
        ("shipper.toml", False, "systemd/install.sh, in a clone of shipper's repository"),
        ("shipper.toml", True, "as-shipper shipper check, and: systemctl enable --now shipper"),
        ("it's.toml", True, "shipper check --config "),
    ],
)
def test_the_next_step_is_one_that_can_be_taken_here(
    name: str, is_installed: bool, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "as-shipper"
    monkeypatch.setattr("shipper.core.hints.AS_SHIPPER", str(installed))
    monkeypatch.setattr("shipper.config.load.DEFAULT_FILE", str(tmp_path / "shipper.toml"))
    if is_installed:
        installed.touch()
    assert next_step(str(tmp_path / name)).startswith(step)


def test_a_directory_is_taken_from_where_one_is_and_old_letters_in_a_bucket_are_said(
    tmp_path: Path,
    logs: Path,
    here: Here,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    del here
    monkeypatch.chdir(logs)
    words = ["init", "--yes", "--offline", "--directory", "nginx", "--prefix", "web-"]
    main([*words, "--bucket", "my_Logs", "--output", str(tmp_path / "new.toml")])
    assert "bucket: AWS makes none with capitals or _ any more" in capsys.readouterr().out
    found = load(str(tmp_path / "new.toml"), {})
    assert [one.directory for one in found.watches] == [str(logs / "nginx")]
    assert found.destination.prefix == "web-", "an option's value stays as it is"
    arn = "arn:aws:s3:eu-central-1:123456789012:accesspoint/My_logs"
    for bucket in ("${NAME}-logs", arn):
        main([*words, "--bucket", bucket, "--output", str(tmp_path / "new.toml"), "--force"])
        assert "any more" not in capsys.readouterr().out


def test_a_tree_that_is_too_large_is_looked_at_in_part_and_that_is_said(
    tmp_path: Path, here: Here, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    del here
    monkeypatch.setattr("shipper.reports.found_logs.MOST_LOOKS", 3)
    for number in range(9):
        (tmp_path / "log" / f"d{number}").mkdir(parents=True)
        (tmp_path / "log" / f"d{number}" / "app.log.1").write_bytes(b"x")
    words = ["--below", str(tmp_path / "log"), "--output", str(tmp_path / "new.toml")]
    main(["init", "--yes", "--offline", "--bucket", "b-1", *words])
    out = capsys.readouterr().out
    assert f"{tmp_path}/log is too large to be looked at whole" in out
    assert len(rows_of(out)) == 2


def test_a_dollar_in_the_name_of_a_directory_is_no_variable(
    tmp_path: Path, here: Here, capsys: pytest.CaptureFixture[str]
) -> None:
    del here
    names = ["${HOME}", "${NO_SUCH}", "a${b", "$$${c}"]
    for name in ("", *names):
        (tmp_path / "log" / name).mkdir(parents=True)
        (tmp_path / "log" / name / "app.log.1").write_bytes(b"x")
    words = ["--below", str(tmp_path / "log"), "--output", str(tmp_path / "new.toml")]
    assert main(["init", "--yes", "--offline", "--bucket", "b-1", *words]) == 0
    found = load(str(tmp_path / "new.toml"), {}).watches
    directories = [str(tmp_path / "log"), *(str(tmp_path / "log" / one) for one in sorted(names))]
    assert [watch.directory for watch in found] == directories
    assert found[0].exclude == tuple(f"{name}/**" for name in sorted(names))
    assert main(["config", "show", "--config", str(tmp_path / "new.toml")]) == 0
    assert r'/$${HOME}"' in capsys.readouterr().out


def test_a_place_that_is_not_utf_8_is_written_to_and_named(
    tmp_path: Path, logs: Path, here: Here, capsys: pytest.CaptureFixture[str]
) -> None:
    del here
    path = tmp_path / "new\udcff.toml"
    words = ["--directory", str(logs / "nginx"), "--output", str(path)]
    assert main(["init", "--yes", "--offline", "--bucket", "b-1", *words]) == 0
    assert r"new\udcff.toml" in capsys.readouterr().out
    assert load(str(path), {}).destination.bucket == "b-1"


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_an_answer_is_refused_at_once_where_the_loader_would_refuse_it(
    terminal: Callable[..., Terminal], logs: Path, tmp_path: Path, errors: str
) -> None:
    path = tmp_path / "new.toml"
    shell = terminal(
        *("init", "--below", str(logs), "--output", str(path), "--region", "eu-west-1"),
        "--offline",
        STATE_DIRECTORY=str(tmp_path / "state"),
        PYTHONIOENCODING=f"utf-8:{errors}",
    )
    shell.wait_for("Bucket: ")
    shell.type_bytes(b"b\xff-c\n")
    shell.wait_for(" is not UTF-8")
    shell.wait_for("Bucket: ")
    shell.type("b-${NO_SUCH}\n")
    shell.wait_for("bucket: the environment has no NO_SUCH")
    shell.wait_for("Bucket: ")
    shell.type("b-1\n")
    shell.wait_for("[logs/]: ")
    shell.type_bytes(b"\x16\x1b[31mx\n")  # Ctrl-V takes the next key as it is
    shell.wait_for("prefix: ")
    shell.wait_for("[logs/]: ")
    shell.type("\n")
    shell.wait_for("[all]: ")
    shell.type("\n")
    assert shell.end()[0] == 0
    assert load(str(path), {}).destination.prefix == "logs/"


def test_a_glob_of_directories_ships_what_all_of_them_have_and_a_name_like_one_is_left_out(
    tmp_path: Path, here: Here, capsys: pytest.CaptureFixture[str]
) -> None:
    del here
    top = tmp_path / "log"
    for name in ("one", "other", "a[b]"):
        (top / name).mkdir(parents=True)
        (top / name / "app.log.1").write_bytes(b"12345")
    words = ["init", "--yes", "--force", "--offline", "--bucket", "b-1"]
    words += ["--output", str(tmp_path / "new.toml")]
    main([*words, "--directory", f"{top}/o*"])
    assert rows_of(capsys.readouterr().out) == [("1", f"{top}/o*", "2", "10")]
    assert main(["config", "show", "--config", str(tmp_path / "new.toml")]) == 0
    assert f'directory = "{top}/o*"' in capsys.readouterr().out
    main([*words, "--below", str(top)])
    out = capsys.readouterr().out
    assert [row[1] for row in rows_of(out)] == [str(top / "one"), str(top / "other")]
    assert "a[b]' is left out" in out
