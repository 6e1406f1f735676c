"""The grammar of command lines: pflag's, as docker's client has it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.cli.arguments import (
    Command,
    HelpWanted,
    Parsed,
    UsageError,
    WrongCountError,
    check_count,
    parse,
)

GROUPS = (
    (
        "First",
        (
            ("env", "e", "list", "Variables"),
            ("interactive", "i", "bool", "Standard input"),
            ("memory", "m", "bytes", "Memory"),
            ("pids-limit", "", "int", "Processes"),
        ),
    ),
    ("Second", (("tty", "t", "bool", "Terminal"), ("rm", "", "bool", "Remove"))),
)


@pytest.mark.parametrize(
    ("line", "flags", "arguments"),
    [
        ([], {}, []),
        (["image"], {}, ["image"]),
        (["-it", "image"], {"interactive": True, "tty": True}, ["image"]),
        (["-ti", "image", "sh"], {"interactive": True, "tty": True}, ["image", "sh"]),
        (["-ePATH=x"], {"env": ["PATH=x"]}, []),
        (["-e", "A=1", "-eB=2", "--env", "C=3", "--env=D=4"], {"env": ["A=1", "B=2", "C=3", "D=4"]}, []),
        (["-e=A=1"], {"env": ["A=1"]}, []),
        (["-itm", "64m"], {"interactive": True, "tty": True, "memory": "64m"}, []),
        (["-itm64m"], {"interactive": True, "tty": True, "memory": "64m"}, []),
        (["-t=false"], {"tty": False}, []),
        (["--rm=false", "x"], {"rm": False}, ["x"]),
        (["--rm", "false"], {"rm": True}, ["false"]),
        (["--rm=T"], {"rm": True}, []),
        (["--memory", "-1"], {"memory": "-1"}, []),
        (["--memory", "--rm"], {"memory": "--rm"}, []),
        (["--memory="], {"memory": ""}, []),
        (["-m", ""], {"memory": ""}, []),
        (["--memory=1", "--memory=2"], {"memory": "2"}, []),
        (["--pids-limit=-1"], {"pids-limit": -1}, []),
        (["--pids-limit", "+7"], {"pids-limit": 7}, []),
        (["a", "--rm", "b", "-i"], {"rm": True, "interactive": True}, ["a", "b"]),
        (["a", "--", "--rm", "--"], {}, ["a", "--rm", "--"]),
        (["-"], {}, ["-"]),
        (["", "-i"], {"interactive": True}, [""]),
    ],
)
def test_a_line_is_read_as_docker_reads_it(
    line: list[str], flags: dict[str, object], arguments: list[str]
) -> None:
    parsed = parse(GROUPS, line)
    assert parsed.arguments == arguments
    assert {name: parsed._values[name] for name in parsed.given()} == flags


@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        (["--rm", "image", "ls", "-l", "--rm=no"], ["image", "ls", "-l", "--rm=no"]),
        (["image", "--", "ls"], ["image", "--", "ls"]),
        (["--", "image", "-i"], ["image", "-i"]),
        (["image", "sh", "-c", "--help"], ["image", "sh", "-c", "--help"]),
    ],
)
def test_where_a_command_line_is_passed_on_the_first_argument_ends_the_flags(
    line: list[str], arguments: list[str]
) -> None:
    assert parse(GROUPS, line, passes_on=True).arguments == arguments


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--bogus"], "unknown flag: --bogus"),
        (["--bogus=1"], "unknown flag: --bogus"),
        (["-Z"], "unknown shorthand flag: 'Z' in -Z"),
        (["-itZx"], "unknown shorthand flag: 'Z' in -Zx"),
        (["--memory"], "flag needs an argument: --memory"),
        (["-m"], "flag needs an argument: 'm' in -m"),
        (["-itm"], "flag needs an argument: 'm' in -m"),
        (["--=x"], "bad flag syntax: --=x"),
        (["---rm"], "bad flag syntax: ---rm"),
        (["--rm=maybe"], 'invalid argument "maybe" for "--rm" flag: must be true or false'),
        (["-t=2"], 'invalid argument "2" for "-t, --tty" flag: must be true or false'),
        (["--pids-limit", "x"], 'invalid argument "x" for "--pids-limit" flag: must be a whole number'),
        (["--pids-limit", "1.5"], 'invalid argument "1.5" for "--pids-limit" flag: must be a whole number'),
        (
            ["--pids-limit", "\u0663"],
            'invalid argument "\u0663" for "--pids-limit" flag: must be a whole number',
        ),
        (
            ["--pids-limit", "9" * 19],
            f'invalid argument "{"9" * 19}" for "--pids-limit" flag: is out of range',
        ),
        (["--a\nb"], "unknown flag: --a\\nb"),
    ],
)
def test_a_bad_line_is_refused_in_dockers_words(line: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(GROUPS, line)
    assert str(caught.value) == message
    assert caught.value.status == 125


@pytest.mark.parametrize("line", [["--help"], ["-h"], ["-ih"], ["--rm", "--help", "image"], ["a", "--help"]])
def test_help_is_asked_for_among_the_flags(line: list[str]) -> None:
    with pytest.raises(HelpWanted):
        parse(GROUPS, line)


@pytest.mark.parametrize(
    ("least", "most", "count", "message"),
    [
        (0, 0, 1, "'cloche x' accepts no arguments"),
        (1, 1, 0, "'cloche x' requires 1 argument"),
        (1, 1, 2, "'cloche x' requires 1 argument"),
        (2, 2, 1, "'cloche x' requires 2 arguments"),
        (1, None, 0, "'cloche x' requires at least 1 argument"),
        (2, None, 1, "'cloche x' requires at least 2 arguments"),
        (0, 1, 2, "'cloche x' requires at most 1 argument"),
    ],
)
def test_a_wrong_number_of_arguments_is_told_in_dockers_words(
    least: int, most: int | None, count: int, message: str
) -> None:
    command = Command("", lambda session, parsed: 0, minimum=least, maximum=most)
    with pytest.raises(WrongCountError) as caught:
        check_count(command, "cloche x", ["a"] * count)
    assert (str(caught.value), caught.value.status) == (message, 1)


WORDS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["-", "--", "-i", "-it", "--env", "--rm=", "-e=", "--pids-limit", "image", "--help", "-m"]
    ),
    st.text("-=ithmeZ\n1", max_size=8),
)


@given(st.lists(WORDS, max_size=8), st.booleans())
def test_any_line_at_all_is_read_or_refused_in_one_line(line: list[str], passes_on: bool) -> None:
    message = ""
    try:
        parsed = parse(GROUPS, line, passes_on=passes_on)
        assert isinstance(parsed, Parsed)
        assert len(parsed.arguments) <= len(line)
    except UsageError as error:
        message = str(error)
    except HelpWanted:
        message = "help"
    assert message.isprintable()


@given(st.lists(st.tuples(st.sampled_from(["env", "interactive", "tty"]), st.text(max_size=5)), max_size=6))
def test_what_was_written_in_long_form_is_read_back(flags: list[tuple[str, str]]) -> None:
    line = [f"--env={value}" if name == "env" else f"--{name}" for name, value in flags]
    parsed = parse(GROUPS, [*line, "image"])
    assert parsed.all("env") == [value for name, value in flags if name == "env"]
    assert parsed.on("tty") == any(name == "tty" for name, _ in flags)
    assert parsed.arguments == ["image"]
