"""Variables of the environment in a configuration: in texts, once, and never a secret."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.config.load import ConfigError, Configuration, load
from shipper.config.schema import Problem
from shipper.config.variables import NO_PLACE, literal, names_in, replaced

BASE = '[destination]\nbucket = "my-bucket"\n[[watch]]\ndirectory = "/var/log/nginx"\n'
FORMS = "${NAME} or ${NAME:-default}; $${ stands for ${"
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)


def read(tmp_path: Path, text: str, **environment: str) -> Configuration:
    path = tmp_path / "shipper.toml"
    path.write_text(text, encoding="utf-8")
    return load(str(path), environment)


def problems(tmp_path: Path, text: str, **environment: str) -> list[tuple[str, str, str]]:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text, **environment)
    assert {problem.file for problem in caught.value.problems} == {str(tmp_path / "shipper.toml")}
    return [(one.key, one.what, one.right) for one in caught.value.problems]


def test_variables_are_replaced_in_texts_lists_and_tags(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        """state_directory = "${ROOT}/state"
        [destination]
        bucket = "logs-${STAGE}-${ROOM:-a}"
        tags = {team = "${TEAM:-}", stage = "x${STAGE}${STAGE}"}
        [[watch]]
        directory = "${ROOT}/logs"
        include = ["${STAGE}.*.log", "*.log.*"]
        settle = "${SETTLE:-7s}"
        compression = "${KIND}"
        """,
        ROOT="/srv",
        STAGE="prod",
        KIND="gzip",
    )
    assert found.state_directory == "/srv/state"
    assert found.destination.bucket == "logs-prod-a"
    assert dict(found.destination.tags) == {"team": "", "stage": "xprodprod"}
    [watch] = found.watches
    assert (watch.directory, watch.include) == ("/srv/logs", ("prod.*.log", "*.log.*"))
    assert (watch.settle_seconds, watch.compression, watch.name) == (7.0, "gzip", "logs")


def test_what_a_variable_holds_is_a_text_and_not_looked_at_again(tmp_path: Path) -> None:
    injected = '"\nbucket = "of-somebody-else"\n[x]\ny = "${HOME}'
    value: Any = tomllib.loads('a = "${A}"\nb = "${B}"')
    said: list[object] = []
    found = replaced(value, "", {"A": injected, "B": "$${A} ${A}"}, lambda *one: said.append(one))
    assert (found, said) == ({"a": injected, "b": "$${A} ${A}"}, [])
    [(key, what, _)] = problems(tmp_path, BASE.replace("my-bucket", "${A}"), A=injected)
    assert (key, "holds a control character" in what) == ("destination.bucket", True)


def test_numbers_and_switches_are_not_texts(tmp_path: Path) -> None:
    text = BASE + 'recursive = "${R}"\n[uploads]\nconcurrent_files = "${N}"\n'
    assert problems(tmp_path, text, R="true", N="8") == [
        ("uploads.concurrent_files", "'8' is not a whole number", "such as 4"),
        ("watch[0].recursive", "'true' is not a yes or no", "true | false"),
    ]


def test_names_of_keys_and_tables_are_taken_as_they_are(tmp_path: Path) -> None:
    text = BASE + '[destination.tags]\n"${TEAM}" = "x"\n["${TABLE}"]\n'
    [(key, what, _)] = problems(tmp_path, text, TEAM="a", TABLE="log")
    assert (key, what) == ("${TABLE}", "unknown key")
    found = read(tmp_path, text.replace('["${TABLE}"]', ""), TEAM="a")
    assert found.destination.tags == (("${TEAM}", "x"),)


@pytest.mark.parametrize(
    ("text", "what", "right"),
    [
        (
            "${NONE}",
            "the environment has no NONE",
            "set it where shipper is started, or ${NONE:-default}",
        ),
        (
            "${EMPTY}",
            "the environment has no EMPTY",
            "set it where shipper is started, or ${EMPTY:-default}",
        ),
        ("a${", "'a${' is not a text with variables", FORMS),
        ("${}", "'${}' is not a text with variables", FORMS),
        ("${1A}", "'${1A}' is not a text with variables", FORMS),
        ("${A-b}", "'${A-b}' is not a text with variables", FORMS),
        ("${A:-${B}}", "'${A:-${B}}' is not a text with variables", FORMS),
        ("${A:-$${}", "'${A:-$${}' is not a text with variables", FORMS),
        ("${BYTES}", "BYTES is not UTF-8", "TOML is UTF-8"),
    ],
)
def test_what_cannot_be_replaced_is_a_problem_with_its_place(
    text: str, what: str, right: str, tmp_path: Path
) -> None:
    environment = {"EMPTY": "", "A": "a", "BYTES": b"\xff".decode("utf-8", "surrogateescape")}
    for key, toml in (
        ("destination.bucket", BASE.replace("my-bucket", text)),
        ("watch[0].directory", BASE.replace("/var/log/nginx", f"/{text}")),
        ("watch[0].exclude", BASE + f"exclude = ['a', '{text}']"),
        ("destination.tags.team", BASE + f"[destination.tags]\nteam = '{text}'"),
        ("state_directory", f"state_directory = '{text}'\n{BASE}"),
    ):
        [(place, said, instead)] = problems(tmp_path, toml, **environment)
        assert (place, said.replace("'/", "'"), instead) == (key, what, right)


@pytest.mark.parametrize(
    "name",
    [
        *("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "GITHUB_TOKEN"),
        *("PGPASSWORD", "DB_PASSWORD_FILE", "db_passwd", "PRIVATE_KEY", "X_API_KEY", "MY_SECRET"),
        *("DB_PASS", "MYSQL_PWD", "GPG_PASSPHRASE", "SMTP_AUTH", "KEY", "SSH_KEY_2", "pass"),
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    ],
)
@pytest.mark.parametrize("form", ["${%s}", "${%s:-x}", "a-${%s}"])
def test_a_variable_that_may_hold_a_secret_is_refused_with_its_value_unsaid(
    form: str, name: str, tmp_path: Path
) -> None:
    text = BASE.replace("my-bucket", form % name)
    [found] = problems(tmp_path, text, **{name: "hunter2hunter2"})
    assert found == ("destination.bucket", f"${{{name}}} may hold a secret", NO_PLACE)
    assert "hunter2" not in repr(found)


def test_a_name_that_only_has_the_letters_of_such_a_word_is_taken(tmp_path: Path) -> None:
    for name in ("PWD", "KEYBOARD", "AUTHOR", "BYPASS", "MONKEY", "COMPASS"):
        found = read(tmp_path, BASE.replace("my-bucket", f"b-${{{name}}}"), **{name: "x"})
        assert found.destination.bucket == "b-x"


@given(value=st.recursive(TEXTS, lambda one: st.lists(one) | st.dictionaries(TEXTS, one)))
def test_a_literal_value_is_read_as_it_was(value: object) -> None:
    assert replaced(literal(value), "x", {}, lambda *_: pytest.fail("reported")) == value


def test_a_doubled_dollar_stands_for_one_before_a_brace_and_nowhere_else(tmp_path: Path) -> None:
    text = BASE + 'exclude = ["$${A}", "a$$", "$1", "$A", "$$${A}x"]'
    assert read(tmp_path, text, A="a").watches[0].exclude == (
        "${A}",
        "a$$",
        "$1",
        "$A",
        "$${A}x",
    )


def test_watches_of_conf_d_have_variables_too(tmp_path: Path) -> None:
    main, more = tmp_path / "shipper.toml", tmp_path / "conf.d"
    main.write_text(BASE)
    more.mkdir()
    (more / "app.toml").write_text('[[watch]]\ndirectory = "/srv/${APP}"\n')
    found = load(None, {"APP": "shop"}, default_file=str(main))
    assert [watch.directory for watch in found.watches] == ["/var/log/nginx", "/srv/shop"]
    with pytest.raises(ConfigError) as caught:
        load(None, {}, default_file=str(main))
    what, right = (
        "the environment has no APP",
        "set it where shipper is started, or ${APP:-default}",
    )
    assert caught.value.problems == (
        Problem(str(more / "app.toml"), "watch[0].directory", what, right),
    )


@given(text=TEXTS.filter(lambda text: "${" not in text))
def test_a_text_without_a_brace_behind_a_dollar_is_taken_as_it_is(text: str) -> None:
    assert replaced(text, "x", {}, lambda *_: pytest.fail("reported")) == text


@given(
    name=st.text("ABCX", min_size=1, max_size=3),
    value=TEXTS.filter(bool),
    before=TEXTS.filter(lambda text: "$" not in text),
)
def test_a_value_stands_where_its_variable_stood(name: str, value: str, before: str) -> None:
    text = f"{before}${{{name}}}{before}${{{name}:-other}}"
    found = replaced(text, "x", {name: value}, lambda *_: pytest.fail("reported"))
    assert found == before + value + before + value
    assert names_in(text) == [name, name]
