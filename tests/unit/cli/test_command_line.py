"""Parsing, help, exit codes and messages of the program, where no drive has to be opened."""

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from cryptdrive.cli import passwords
from cryptdrive.cli.main import COMMANDS, program

Run = Callable[..., tuple[int, str, str]]

USUAL = [name for name in COMMANDS if name != "quickstart"]


@pytest.fixture(autouse=True)
def no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRYPTDRIVE_PASSWORD", raising=False)
    monkeypatch.setattr(passwords, "has_terminal", lambda: False)


def write_config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "xdg/config_home/cryptdrive/config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# --- help ------------------------------------------------------------------------------------------


def test_help_lists_the_commands_in_order(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    listed = [line.split()[0] for line in out.split("Commands:")[1].splitlines() if line.startswith("  ")]
    assert [name for name in listed if name in COMMANDS] == USUAL
    assert "quickstart" not in out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example(run: Run, name: str) -> None:
    code, out, _ = run(name, "--help")
    assert code == 0
    assert "Example" in out
    assert f"cryptdrive {name}" in out


def test_umount_tells_what_lazy_costs(run: Run) -> None:
    _, out, _ = run("umount", "--help")
    assert " ".join(out.split()).count("programs that have files open lose the drive at once") == 2


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_variable(name: str) -> None:
    command = program.get_command(click.Context(program), name)
    assert command is not None
    for each in command.params:
        if isinstance(each, click.Option):
            variable = "CRYPTDRIVE_" + max(each.opts, key=len).removeprefix("--").replace("-", "_").upper()
            assert each.envvar == variable


@pytest.mark.parametrize("name", COMMANDS)
def test_no_option_takes_a_secret(name: str) -> None:
    command = program.get_command(click.Context(program), name)
    assert command is not None
    names = {option for each in command.params for option in each.opts}
    assert not names & {"--password", "--recovery-key", "--key", "-p", "--new-password"} - (
        {"-p"} if name == "mkdir" else set()
    )


@pytest.mark.parametrize("arguments", [["--help"], ["status"], ["mount", "--help"]])
def test_it_starts_fast(arguments: list[str], tmp_path: Path) -> None:
    """What takes long to import is imported by those who need it. The machine may be busy: processor time."""
    script = (
        "import sys, time; from cryptdrive.cli.main import run; code = run(sys.argv[1:]); "
        "print(code, time.process_time(), *sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
    )
    code, seconds, *modules = done.stderr.strip().splitlines()[-1].split()
    assert code == "0"
    assert float(seconds) < 0.6, "usually about 0.15"
    assert not {"pyfuse3", "trio", "wsgidav", "cheroot", "rich.progress", "cryptdrive.drive"} & set(modules)


# --- usage -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["mount"],
        ["mount", "/v", "/m", "/too-many"],
        ["mount", "/v", "/m", "--umask", "9"],
        ["mount", "/v", "/m", "--idle", "soon"],
        ["mount", "/v", "/m", "--uid", "-1"],
        ["mount", "/v", "/m", "--webdav=nowhere:99999"],
        ["serve", "/v", "--address", "a:b:c"],
        ["put", "/v", "/only-one"],
        ["put", "/v", "-", "-", "/x"],
        ["init", "/v", "--password", "secret"],
        ["mount", "/v"],
        ["passwd", "/v", "--password-file", "a", "--password-command", "b"],
    ],
)
def test_wrong_usage(run: Run, tmp_path: Path, arguments: list[str]) -> None:
    arguments = [str(tmp_path / each[1:]) if each in ("/v", "/m") else each for each in arguments]
    (tmp_path / "v").mkdir()
    if arguments[0] == "passwd":
        write_header(tmp_path / "v")
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert "Error: " in err


def write_header(folder: Path) -> None:
    from cryptdrive.crypto.signatures import public_key_of
    from cryptdrive.vault.header import encode_header

    (folder / "cryptdrive.json").write_bytes(encode_header(public_key_of(bytes(32)), bytes(32)))


# --- errors before a drive is opened -----------------------------------------------------------------


def test_no_vault(run: Run, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    for arguments in (["info"], ["passwd"], ["ls"], ["serve"], ["put", "/etc/passwd", "/"]):
        code, out, err = run(arguments[0], tmp_path, *arguments[1:])
        assert (code, out) == (13, "")
        assert f"there is no vault at {tmp_path.as_uri()}" in err


def test_no_store(run: Run, tmp_path: Path) -> None:
    code, _, err = run("info", tmp_path / "missing")
    assert code == 15
    assert str(tmp_path / "missing") in err


def test_a_newer_format(run: Run, tmp_path: Path) -> None:
    write_header(tmp_path)
    fields = json.loads((tmp_path / "cryptdrive.json").read_text())
    (tmp_path / "cryptdrive.json").write_text(json.dumps({**fields, "version": 99}))
    code, _, err = run("info", tmp_path)
    assert code == 14
    assert "format version 99" in err
    assert "update" in err


def test_a_damaged_header(run: Run, tmp_path: Path) -> None:
    (tmp_path / "cryptdrive.json").write_text("{")
    code, _, err = run("ls", tmp_path)
    assert code == 17
    assert "cryptdrive.json is damaged" in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[drives.photos]\nstore = '/x'\nidel = '3m'", 'unknown key "idel" in table [drives.photos]'),
        ("[defaults.mount]\numask = 77", '"umask" in table [defaults.mount]'),
        ("[defaults", "not TOML"),
        ("[drives.a]\nstore = '/x'\npassword = 'secret'", "password_file"),
    ],
)
def test_a_broken_configuration(run: Run, tmp_path: Path, text: str, said: str) -> None:
    path = write_config(tmp_path, text)
    for arguments in (["config", "check"], ["mount", "photos", tmp_path], ["status"]):
        code, _, err = run(*arguments)
        assert code == 11
        assert said in err
        assert str(path) in err
        assert "secret'" not in err


def test_an_unknown_drive(run: Run, tmp_path: Path) -> None:
    write_config(tmp_path, "[drives.photos]\nstore = '/x'")
    code, _, err = run("ls", "fotos")
    assert code == 11
    assert '"fotos"' in err
    assert "photos" in err


@pytest.mark.fuse
def test_mountpoints_that_cannot_be_used(run: Run, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    for place, said in (
        ("full", "not empty"),
        ("missing", "does not exist"),
        ("full/file", "not a directory"),
    ):
        code, _, err = run("mount", tmp_path / "v", tmp_path / place)
        assert code == 10
        assert said in err
        assert str(tmp_path / place) in err


def test_a_password_is_needed(run: Run, tmp_path: Path) -> None:
    code, _, err = run("init", tmp_path / "v")
    assert code == 12
    assert "--password-file" in err
    write_header(tmp_path)
    code, _, err = run("ls", tmp_path)
    assert code == 12


def test_init_needs_a_place_of_its_own(run: Run, tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v/letter.txt").touch()
    code, _, err = run("init", tmp_path / "v")
    assert code == 16
    assert "letter.txt" in err
    (tmp_path / "w").mkdir()
    write_header(tmp_path / "w")
    code, _, err = run("init", tmp_path / "w")
    assert code == 13
    assert "already" in err


def test_init_does_not_overwrite_a_key_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("precious")
    code, _, _ = run("init", tmp_path / "v", "--recovery-key-file", tmp_path / "key")
    assert code == 11
    assert (tmp_path / "key").read_text() == "precious"
    assert not (tmp_path / "v").exists()


def test_umount_of_what_is_not_mounted(run: Run, tmp_path: Path) -> None:
    code, _, err = run("umount", tmp_path)
    assert code == 10
    assert str(tmp_path) in err


# --- answers without a drive -------------------------------------------------------------------------


def test_status_without_drives(run: Run, tmp_path: Path) -> None:
    assert run("status")[:2] == (0, "no drive is running\n")
    code, out, _ = run("status", "--json")
    assert (code, json.loads(out)) == (0, {"drives": []})
    code, out, _ = run("status", tmp_path)
    assert (code, out) == (0, f"{tmp_path}: not running\n")


def test_flush_without_a_drive(run: Run, tmp_path: Path) -> None:
    assert run("flush", tmp_path)[0] == 13, "it is none"
    assert run("flush", tmp_path / "missing")[0] == 15
    assert run("flush", "photos")[0] == 11
    write_header(tmp_path)
    code, _, err = run("flush", tmp_path)
    assert code == 10
    assert "not running: nothing can be sent" in err


def test_the_configurations_commands(run: Run, tmp_path: Path) -> None:
    path = write_config(tmp_path, "[drives.photos]\nstore = '/x'\nidle = '30m'\nmount.umask = '077'")
    assert run("config", "path")[1] == f"{path}\n"
    assert run("config", "check")[1] == f"{path}: good, with 1 drive\n"
    _, shown, _ = run("config", "show", "photos")
    assert "idle = 1800.0" in shown
    again = tmp_path / "again.toml"
    again.write_text(shown)
    assert run("config", "check", "--config", again)[0] == 0
    assert run("config", "show", "photos", "--config", again)[1] == shown
    example = tmp_path / "example.toml"
    example.write_text(run("config", "example")[1])
    assert run("--config", example, "config", "check")[0] == 0


def test_a_named_configuration_must_be_there(run: Run, tmp_path: Path) -> None:
    code, _, err = run("config", "check", "--config", tmp_path / "missing.toml")
    assert code == 11
    assert "missing.toml" in err


def test_the_version(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.2.3")
    assert run("--version")[:2] == (0, "cryptdrive 1.2.3\n")


# --- logs --------------------------------------------------------------------------------------------


def test_the_log_file_is_private(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "new/log"
    old = os.umask(0)
    try:
        run("info", tmp_path, "-vv", "--log-file", log)
    finally:
        os.umask(old)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert "Traceback" in log.read_text()


def test_tracebacks_are_for_the_log_at_vv(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "log"
    _, _, err = run("info", tmp_path, "-v", "--log-file", log)
    assert "Traceback" not in err + log.read_text()


def test_a_commands_option_wins_over_the_groups_and_the_variable(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("group", "own", "variable"):
        (tmp_path / name).write_text("[nonsense]")
    monkeypatch.setenv("CRYPTDRIVE_CONFIG", str(tmp_path / "variable"))
    assert "variable: unknown" in run("config", "check")[2]
    assert "group: unknown" in run("--config", tmp_path / "group", "config", "check")[2]
    assert (
        "own: unknown"
        in run("--config", tmp_path / "group", "config", "check", "--config", tmp_path / "own")[2]
    )


def test_no_folder_for_logs(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, err = run("status", "--log-file", tmp_path / "file/log")
    assert code == 11
    assert "no log can be written" in err


def test_reading_stops_when_nobody_listens(tmp_path: Path) -> None:
    script = "import sys; from cryptdrive.cli.main import main; sys.argv[0] = 'cryptdrive'; main()"
    with subprocess.Popen(
        [sys.executable, "-c", script, "config", "example"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        time.sleep(0)
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
