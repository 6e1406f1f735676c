"""The grammar of the command line, the help, the log and the formats, beside runc's own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.errors import InvalidArgument
from cloche.runtime import command as face
from cloche.runtime.face.arguments import Flag, UsageError, parse
from cloche.runtime.face.control import signal_number
from cloche.runtime.face.formats import json_text, table
from tests.bundles import Bundle
from tests.runtime.face.runtimes import Runtime, last_line, unique

FLAGS = (
    Flag("bundle", "text", "", "b"),
    Flag("detach", "switch", "", "d"),
    Flag("count", "number", ""),
    Flag("env", "texts", "", "e"),
)


@pytest.mark.parametrize(
    "words",
    [
        ["--bundle", "x", "-d", "id"],
        ["-bundle=x", "--d", "id"],
        ["-b", "x", "--detach=true", "id"],
        ["id", "-d=1", "--b=x"],
        ["-d", "-b", "y", "-b", "x", "--", "id"],
    ],
)
def test_the_same_flags_in_all_their_forms(words: list[str]) -> None:
    options = parse(FLAGS, words, interspersed=True)
    assert options.text("bundle") == "x"
    assert options.switch("detach")
    assert options.words == ["id"]


def test_without_interspersed_flags_the_first_word_ends_them() -> None:
    options = parse(FLAGS, ["-d", "id", "ls", "-b", "--", "x"], interspersed=False)
    assert options.words == ["id", "ls", "-b", "--", "x"]


def test_repeated_values_are_kept_whole_with_their_commas() -> None:
    assert parse(FLAGS, ["-e", "A=1,2", "--env=B="], interspersed=True).texts("env") == ["A=1,2", "B="]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--nope"], "flag provided but not defined: -nope"),
        (["-b"], "flag needs an argument: -b"),
        (["--detach=perhaps"], 'invalid boolean value "perhaps" for flag -detach'),
        (["--count", "x"], 'invalid value "x" for flag -count'),
        (["---bundle", "x"], "flag provided but not defined: -bundle"),
        (["-db", "x"], "flag provided but not defined: -db"),
    ],
)
def test_words_that_do_not_fit_are_refused(words: list[str], problem: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(problem)}"):
        parse(FLAGS, words, interspersed=True)


@given(st.lists(st.text(alphabet="-=bdx0 ä", max_size=6), max_size=6), st.booleans())
def test_any_words_are_parsed_or_refused(words: list[str], interspersed: bool) -> None:
    try:
        options = parse(FLAGS, words, interspersed=interspersed)
    except UsageError:
        return
    assert options.number("count") == int(options.text("count", "0"), 0)


@pytest.mark.parametrize(
    ("word", "number"),
    [("KILL", 9), ("sigterm", 15), ("0", 0), ("64", 64), ("SIGRTMIN+3", 37), ("rtmax-1", 63), ("CLD", 17)],
)
def test_signals_by_name_and_number(word: str, number: int) -> None:
    assert signal_number(word) == number


@pytest.mark.parametrize(
    "word", ["", "x", "65", "-1", "SIG", "_DFL", "RTMIN+", "RTMAX-64", "TERM+1", "9" * 99]
)
def test_other_signals_are_refused(word: str) -> None:
    with pytest.raises(InvalidArgument, match="unknown signal"):
        signal_number(word)


def test_every_command_has_its_page_and_is_on_the_general_one(ours: Runtime) -> None:
    general = ours("help").stdout
    for name in face.MODULES:
        assert re.search(rf"^   {name} ", general, re.MULTILINE)
        assert face.find(name).summary in ours(name, "--help").stdout
        assert ours("help", name).stdout == ours(name, "-h").stdout


def test_usage_errors_have_runcs_exit_codes(runtime: Runtime) -> None:
    for words, code in (
        (["state"], 1),
        (["state", "a", "b"], 1),
        (["create", "--nope", "x"], 1),
        (["--nope", "list"], 1),
        (["exec"], 1),
        (["nonsense"], 3),
        (["--log-format", "xml", "list"], 1),
        (["list", "-f", "xml"], 1),
        (["help"], 0),
    ):
        assert runtime(*words).returncode == code, words


def test_usage_errors_show_the_usage_and_end_with_the_reason(runtime: Runtime) -> None:
    result = runtime("state")
    assert result.stdout.startswith("Incorrect Usage")
    assert '\\"state\\" requires exactly 1 argument(s)' in last_line(result)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_an_error_is_logged_as_runc_logs_it(
    ours: Runtime, theirs: Runtime, tmp_path: Path, log_format: str
) -> None:
    shapes = []
    for runtime in (ours, theirs):
        log = tmp_path / f"{runtime.name}.log"
        result = runtime("--log", str(log), "--log-format", log_format, "exec", "nobody", "true")
        assert result.returncode == 255
        (line,) = log.read_text().splitlines()
        message = last_line(result)
        assert message.startswith("exec failed: container does not exist")
        line = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)", "TIME", line)
        shapes.append(line.replace(json.dumps(message)[1:-1], "MESSAGE"))
    assert shapes[0] == shapes[1]


def test_a_log_that_cannot_be_opened_is_an_error(ours: Runtime) -> None:
    result = ours("--log", "/nonexistent/log", "list")
    assert result.returncode == 1
    assert "/nonexistent/log" in last_line(result)


def test_errors_go_to_standard_error_as_a_log_line_where_there_is_no_log(runtime: Runtime) -> None:
    result = runtime("state", "nobody")
    assert re.match(r'time="[^"]+" level=error msg="container does not exist', last_line(result))


def test_the_version_has_the_lines_that_others_parse(ours: Runtime) -> None:
    first, *rest = ours("--version").stdout.splitlines()
    assert re.fullmatch(r"cloche-runc version \d+\.\d+\.\d+\S*", first)
    assert any(re.fullmatch(r"spec: 1\.\d+\.\d+", line) for line in rest)


@pytest.mark.parametrize("flags", [[], ["--rootless"]])
def test_spec_writes_what_runc_writes(
    ours: Runtime, theirs: Runtime, tmp_path: Path, flags: list[str]
) -> None:
    written = []
    for runtime in (ours, theirs):
        bundle = tmp_path / runtime.name
        bundle.mkdir()
        assert runtime("spec", *flags, "--bundle", str(bundle)).returncode == 0
        written.append((bundle / "config.json").read_bytes())
        again = runtime("spec", *flags, "--bundle", str(bundle))
        assert again.returncode == 1
        assert "exists. Remove it first" in last_line(again)
    assert written[0] == written[1]


def normalised(text: str) -> str:
    # A time ends with its last digit that is no zero, so the column is as wide as chance has it.
    text = re.sub(r"CREATED +", "CREATED ", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z *", "TIME ", text)
    return re.sub(r"(\"pid\": ?|  )\d+ *", r"\1PID ", text)


def test_state_and_list_are_printed_as_runc_prints_them(
    ours: Runtime, theirs: Runtime, bundle: Bundle
) -> None:
    bundle.config["annotations"] = {"z": "<&>", "a": 'quo"ted', "umlaut": "ä\u2028"}
    bundle.command("sleep", "300")
    container_id = unique("same")
    printed = []
    for runtime in (ours, theirs):
        assert runtime.start_detached("create", "-b", str(bundle.path), container_id) == 0
        printed.append(
            [
                runtime("state", container_id).stdout,
                runtime("list").stdout,
                runtime("list", "--format", "json").stdout,
                runtime("list", "-q").stdout,
            ]
        )
        assert runtime("delete", "--force", container_id).returncode == 0
        printed[-1] += [runtime("list").stdout, runtime("list", "-f", "json").stdout]
    assert [normalised(text) for text in printed[0]] == [normalised(text) for text in printed[1]]


def test_tables_are_aligned_as_tabwriter_aligns_them() -> None:
    rows = [("ID", "PID", "LAST"), ("a" * 20, "1", "x"), ("é", "123456789012", "")]
    assert table(rows).splitlines() == [
        f"{'ID':23}{'PID':15}LAST",
        f"{'a' * 20:23}{'1':15}x",
        f"{'é':23}{'123456789012':15}",
    ]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
def test_json_is_read_back_as_it_was(value: object) -> None:
    assert json.loads(json_text(value)) == value
    assert json.loads(json_text(value, "  ")) == value
