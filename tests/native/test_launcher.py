"""The launcher: finds its environment wherever that lies, and hands arguments over untouched."""

from __future__ import annotations

import os
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.peers import command, peer

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
SOURCE = Path(__file__).parents[2] / "src" / "cloche"
BASE = Path(getattr(sys, "_base_executable", sys.executable)).resolve()

NAMES = ("cloche", "cloche-runc", "containerd-shim-cloche-v1")

DESCRIPTION = f"home = {BASE.parent}\nversion = {sys.version.split()[0]}\n"

REPORT = """
import sys

def main():
    flags = (sys.flags.isolated, sys.flags.no_site, sys.flags.utf8_mode)
    print(repr((__name__, sys.argv, flags)))
    if sys.argv[1:] == ["search"]:
        import elsewhere
        print(elsewhere.__name__)
    return 7
"""


class Environment:
    """A directory laid out as a virtual environment, with a package that says how it was called."""

    def __init__(self, prefix: Path, packages: str = f"lib/python{VERSION}/site-packages") -> None:
        self.prefix = prefix
        self.packages = prefix / packages
        for module in ("cli/main", "runtime/command", "shim/command"):
            path = self.packages / "cloche" / f"{module}.py"
            path.parent.mkdir(parents=True)
            path.write_text(REPORT)
        (self.packages / "cloche" / "__init__.py").touch()
        shutil.copy2(SOURCE / "launch.py", self.packages / "cloche")
        (prefix / "bin").mkdir(exist_ok=True)
        for name in NAMES:
            shutil.copy2(command(name), prefix / "bin" / name)

    def describe(
        self, text: str = f"home = {BASE.parent}\nversion = {sys.version.split()[0]}\n"
    ) -> Environment:
        """Write pyvenv.cfg."""
        (self.prefix / "pyvenv.cfg").write_text(text)
        return self


def run(program: Path | str, *arguments: str | bytes, **options: object) -> tuple[int, str, str]:
    """Exit code, standard output and error of a program."""
    result = subprocess.run(  # type: ignore[call-overload] # options are subprocess's own
        [program, *arguments], capture_output=True, check=False, timeout=30, **options
    )
    return result.returncode, result.stdout.decode(), result.stderr.decode()


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """A virtual environment whose path has spaces and quotes in it."""
    return Environment(tmp_path / "a 'quoted' \"place\"").describe()


@pytest.mark.parametrize(
    ("name", "module"),
    list(zip(NAMES, ("cloche.cli.main", "cloche.runtime.command", "cloche.shim.command"), strict=True)),
)
def test_each_command_calls_its_own_entry_point(environment: Environment, name: str, module: str) -> None:
    program = environment.prefix / "bin" / name
    code, output, _ = run(program, "run", "--flag", "")
    assert code == 7
    assert output == repr((module, [str(program), "run", "--flag", ""], (1, 1, 1))) + "\n"


def test_arguments_arrive_byte_for_byte(environment: Environment) -> None:
    words: list[str | bytes] = [
        "-c",
        "--",
        "-I",
        "import sys",
        "\n",
        "a'b\"c",
        b"\xff\xfe",
        "ü",
        "x" * 100_000,
    ]
    _, output, _ = run(environment.prefix / "bin" / "cloche", *words)
    expected = [os.fsdecode(word) for word in words]
    assert repr(expected)[1:-1] in output


def executed(program: Path, **variables: str) -> str:
    """The script that Python is given, and LC_ALL as it is then, in strace's words."""
    words: list[str | Path] = [peer("strace"), "-v", "-s", "4096", "-e", "trace=execve", program]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=variables)
    line = next(line for line in done.stderr.splitlines() if line.startswith("execve") and "-X" in line)
    script = line.partition('"utf8", "')[2].partition('", "')[0]
    return f"{Path(script).name} {line.partition('LC_ALL=')[2].partition(chr(34))[0]}"


def test_python_executes_what_is_compiled_of_the_present_source(environment: Environment) -> None:
    program = environment.prefix / "bin" / "cloche-runc"
    source = environment.packages / "cloche" / "launch.py"
    py_compile.compile(str(source), doraise=True)
    compiled = source.parent / "__pycache__" / f"launch.{sys.implementation.cache_tag}.pyc"
    assert executed(program) == f"{compiled.name} POSIX"
    assert run(program)[0] == 7
    small = compiled.with_suffix(".opt-2.pyc")
    py_compile.compile(str(source), str(small), doraise=True, optimize=2)
    assert executed(program) == f"{small.name} POSIX"
    assert run(program)[0] == 7
    small.write_bytes(b"")
    content = compiled.read_bytes()
    for damaged in (b"", content[:12], content[:2] + b"xx" + content[4:], content[:4] + b"\1" + content[5:]):
        compiled.write_bytes(damaged)
        assert executed(program) == "launch.py POSIX"
    compiled.write_bytes(content)
    os.utime(source, (1, 1))
    assert executed(program) == "launch.py POSIX"
    assert run(program)[0] == 7


def test_a_locale_is_not_loaded_and_not_lost(environment: Environment) -> None:
    program = environment.prefix / "bin" / "cloche"
    show = environment.packages / "cloche" / "cli" / "main.py"
    show.write_text("import os\n\ndef main():\n    os.system('echo \"<$LC_ALL$LC_CTYPE>\"')\n    return 0\n")
    for variables, expected in (({}, ""), ({"LC_ALL": "C.UTF-8"}, "C.UTF-8"), ({"LC_ALL": "POSIX"}, "POSIX")):
        assert run(program, env=variables) == (0, f"<{expected}>\n", "")
        assert executed(program, **variables).endswith(f" {expected or 'POSIX'}")


def test_python_s_own_variables_do_not_reach_it(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "posix.py").write_text("raise SystemExit(99)")
    variables = {"PYTHONPATH": str(tmp_path), "PYTHONHOME": "/nowhere", "PYTHONSTARTUP": "/nowhere"}
    code, _, _ = run(environment.prefix / "bin" / "cloche", env=os.environ | variables, cwd=tmp_path)
    assert code == 7


def test_a_symbolic_link_and_any_first_argument_lead_to_the_same_program(
    environment: Environment, tmp_path: Path
) -> None:
    link = tmp_path / "renamed"
    link.symlink_to(environment.prefix / "bin" / "cloche-runc")
    code, output, _ = run(link, executable=str(link))
    assert code == 7
    assert "cloche.runtime.command" in output
    result = subprocess.run(["anything at all"], executable=link, capture_output=True, check=False)
    assert result.stdout.decode() == output
    result = subprocess.run(["cloche"], executable=link, capture_output=True, check=False)
    assert result.stdout.decode() == output


def test_the_directory_s_version_is_found_where_the_description_has_none(environment: Environment) -> None:
    environment.describe(f"home={BASE.parent}  \r\nother = 1")
    assert run(environment.prefix / "bin" / "cloche")[0] == 7


@pytest.mark.parametrize("packages", ["site-packages", "dist-packages"])
def test_without_a_description_the_interpreter_beside_it_is_taken(tmp_path: Path, packages: str) -> None:
    environment = Environment(tmp_path / "usr", f"lib/python{VERSION}/{packages}")
    (environment.prefix / "bin" / f"python{VERSION}").symlink_to(BASE)
    code, output, error = run(environment.prefix / "bin" / "cloche", "list")
    assert (code, error) == (7, "")
    assert "cloche.cli.main" in output


def test_outside_an_environment_site_is_asked_for_what_is_missing(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "usr")
    (environment.prefix / "bin" / f"python{VERSION}").symlink_to(BASE)
    code, _, error = run(environment.prefix / "bin" / "cloche", "search")
    assert code == 1
    assert "ModuleNotFoundError: No module named 'elsewhere'" in error


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (
            "version = 3.11.0\n",
            "no `home` in {prefix}/pyvenv.cfg: make the virtual environment again",
        ),
        (
            "home = /nowhere\n",
            "the Python of this virtual environment is gone: /nowhere/python3: make the environment again",
        ),
    ],
)
def test_a_broken_environment_is_said_in_one_line(
    environment: Environment, description: str, message: str
) -> None:
    environment.describe(description)
    code, output, error = run(environment.prefix / "bin" / "cloche")
    assert (code, output) == (127, "")
    assert error == f"cloche: {message.format(prefix=environment.prefix)}\n"


def test_a_missing_package_is_said_in_one_line(environment: Environment) -> None:
    (environment.packages / "cloche" / "__init__.py").unlink()
    code, _, error = run(environment.prefix / "bin" / "cloche")
    assert code == 127
    assert error == f"cloche: the cloche package is not under {environment.prefix}/lib: install it again\n"


def test_an_unknown_name_is_said_in_one_line(environment: Environment) -> None:
    other = environment.prefix / "bin" / "docker"
    shutil.copy2(environment.prefix / "bin" / "cloche", other)
    code, _, error = run(other)
    assert code == 127
    assert error == "cloche: not one of its commands: docker: this program has another name\n"


def test_a_path_that_is_too_long_is_refused(environment: Environment) -> None:
    environment.describe("home = /" + "x" * 5000 + "\n")
    code, _, error = run(environment.prefix / "bin" / "cloche")
    assert code == 127
    assert error.startswith("cloche: a path is too long: ")


def test_output_that_nobody_reads_is_no_traceback(environment: Environment) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        result = subprocess.run(
            [environment.prefix / "bin" / "cloche"], stdout=write, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(write)
    assert (result.returncode, result.stderr) == (7, b"")


def test_the_programs_need_no_library_and_have_no_executable_stack() -> None:
    for name in NAMES:
        data = Path(command(name)).read_bytes()
        assert data[:4] == b"\x7fELF"
        assert b".interp" not in data
        assert b"ld-linux" not in data
        assert len(data) < 64 * 1024
