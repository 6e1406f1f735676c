"""Go templates as `--format` takes them. Expected texts are those of Go's text/template."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.cli.template import Template
from cloche.errors import InvalidArgument

DATA = {
    "ID": "abc",
    "Pid": 42,
    "Running": True,
    "Nothing": None,
    "Empty": [],
    "Config": {"Env": ["A=1", "B=2"], "Labels": {"com.example": "x", "b": "y"}},
    "Mounts": [{"Source": "/a"}, {"Source": "/b"}],
    "Share": 0.5,
    "Label": lambda name: f"<{name}>",
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain", "plain"),
        ("{{.ID}}", "abc"),
        ("{{ .ID }}:{{.Pid}}", "abc:42"),
        ("{{.Running}} {{.Nothing}} {{.Share}}", "true <nil> 0.5"),
        ("{{.Config.Env}}", "[A=1 B=2]"),
        ("{{.Config.Labels}}", "map[b:y com.example:x]"),
        ('{{index .Config.Labels "com.example"}}', "x"),
        ('{{index .Config.Labels "none"}}', ""),
        ("{{.Config.Labels.none}}", "<no value>"),
        ("{{index .Config.Env 1}}", "B=2"),
        ("{{(index .Mounts 0).Source}}", "/a"),
        ("{{json .Config}}", '{"Env":["A=1","B=2"],"Labels":{"com.example":"x","b":"y"}}'),
        ("{{.ID | json}}", '"abc"'),
        ("{{json .Nothing}}", "null"),
        ("{{range .Mounts}}{{.Source}},{{end}}", "/a,/b,"),
        ("{{range $i, $m := .Mounts}}{{$i}}={{$m.Source}} {{end}}", "0=/a 1=/b "),
        ("{{range $k, $v := .Config.Labels}}{{$k}}{{$v}}{{end}}", "bycom.examplex"),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ("{{range .Mounts}}{{$.ID}}{{break}}{{end}}", "abc"),
        ('{{range .Mounts}}{{if eq .Source "/a"}}{{continue}}{{end}}{{.Source}}{{end}}', "/b"),
        ("{{if .Running}}up{{else}}down{{end}}", "up"),
        ("{{if .Nothing}}a{{else if .Pid}}b{{else}}c{{end}}", "b"),
        ("{{with .Config}}{{len .Env}}{{end}}", "2"),
        ("{{with .Nothing}}x{{else}}y{{end}}", "y"),
        ("{{$x := .Pid}}{{$x}}", "42"),
        ("{{if and .Running (gt .Pid 40) (not .Nothing)}}y{{end}}", "y"),
        ('{{or .Nothing "z"}}', "z"),
        ("a {{- .ID -}}\n b", "aabcb"),
        ("{{/* nothing */}}x", "x"),
        ('{{join .Config.Env ";"}}', "A=1;B=2"),
        ('{{upper "a"}}{{lower "B"}}{{title "c"}}', "AbC"),
        ('{{range split "a,b" ","}}[{{.}}]{{end}}', "[a][b]"),
        ('{{printf "%-5s|%05d|%q|%v|%.2f%%" .ID .Pid .ID .Running .Share}}', 'abc  |00042|"abc"|true|0.50%'),
        ("{{println .ID .Pid}}", "abc 42\n"),
        ("{{print 1 2}}", "1 2"),
        ('{{.Label "k"}}', "<k>"),
        ('{{"k" | .Label}}', "<k>"),
        ('{{"}}"}}', "}}"),
        ("{{`a\\b`}}", "a\\b"),
        ('{{slice .ID 1 2}}{{truncate "hello" 2}}{{pad "x" 1 1}}|', "bhe x |"),
        ("{{eq .Pid 41 42}}{{ne .ID .ID}}", "truefalse"),
        ("{{true}}{{len .ID}}{{0x10}}", "true316"),
    ],
)
def test_a_template_is_filled_in_as_go_does(template: str, text: str) -> None:
    assert Template(template).execute(DATA) == text


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{.ID", "not closed"),
        ('{{"a}}', "not closed"),
        ("{{bogus}}", 'function "bogus" not defined'),
        ("{{.Bogus}}", 'no entry for key "Bogus"'),
        ("{{.Nothing.X}}", "nil data"),
        ("{{.ID.X}}", "can't evaluate field X"),
        ("{{if .ID}}", '"if" without its "end"'),
        ("{{end}}", 'unexpected "end"'),
        ("{{.ID .Pid}}", "not a method"),
        ("{{(.ID}}", "unexpected"),
        ("{{.ID)}}", "unexpected"),
        ("{{| .ID}}", "unexpected"),
        ("{{index .Config.Env 9}}", "out of range"),
        ("{{range .Pid}}{{end}}", "can't iterate"),
        ("{{break}}", "outside a range"),
        ('{{template "x"}}', "not supported"),
        ("{{lt .Pid .ID}}", "not supported between"),
        ("{{$x}}", "$x"),
        ('{{printf "%99999999d" 1}}', "too much"),
        ("{{1x}}", "unexpected"),
        ("{{" + "(" * 500 + "}}", "too deep"),
        ("{{if 1}}" * 500, "too deep"),
    ],
)
def test_a_bad_template_is_refused_with_one_line(template: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match="template") as caught:
        Template(template).execute(DATA)
    assert message in str(caught.value)


ACTIONS = st.sampled_from(
    [
        *(
            "{{",
            "}}",
            "{{end}}",
            "{{else}}",
            "{{if .ID}}",
            "{{range .Mounts}}",
            "{{with .Config}}",
            "{{break}}",
        ),
        *("$x", ":=", "=", ".ID", ".", "..", "$", "|", "(", ")", ").Source", ",", "json", "index", "printf"),
        *(
            '"%d"',
            '"a"',
            '"',
            "`",
            "'",
            "1",
            "-1",
            "0x",
            "{{-",
            "-}}",
            " ",
            "len",
            "slice",
            "join",
            "{{json .}}",
        ),
    ]
)


@given(st.lists(st.one_of(ACTIONS, st.text(max_size=4)), max_size=12).map("".join))
def test_any_text_at_all_is_a_template_or_a_clean_error(text: str) -> None:
    message = "template"
    try:
        Template(text).execute(DATA)
    except InvalidArgument as error:
        message = str(error)
    assert message.startswith("template")


@given(st.text().filter(lambda text: "{{" not in text))
def test_text_without_actions_stays_as_it_is(text: str) -> None:
    assert Template(text).execute({}) == text
