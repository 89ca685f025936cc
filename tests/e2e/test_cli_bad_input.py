"""What is wrong is said, with its own exit code, and harms nothing. Secrets are seen nowhere."""

import json
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cli_support import PASSWORD, CommandLine, Done, command_line, is_mounted, read_until

pytestmark = pytest.mark.fuse


@pytest.fixture
def line(tmp_path: Path) -> Iterator[CommandLine]:
    with command_line(tmp_path) as line:
        line.create_vault()
        yield line


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def unharmed(line: CommandLine) -> Iterator[None]:
    """The store is as it was, and nothing is mounted or running."""
    before = content_of(line.vault)
    yield
    assert content_of(line.vault) == before
    assert not is_mounted(line.mountpoint)
    assert json.loads(line.run("status", "--json").ok().out) == {"drives": []}


COMMANDS = {
    "mount": lambda line: line.run("mount", line.vault, line.mountpoint, password="wrong"),
    "foreground": lambda line: line.run("mount", "-f", line.vault, line.mountpoint, password="wrong"),
    "serve": lambda line: line.run("serve", line.vault, "--address", "127.0.0.1:0", password="wrong"),
    "ls": lambda line: line.run("ls", line.vault, password="wrong"),
    "put": lambda line: line.run("put", line.vault, __file__, "/", password="wrong"),
    "passwd": lambda line: line.run("passwd", line.vault, password="wrong", CRYPTDRIVE_NEW_PASSWORD="new"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_password(line: CommandLine, unharmed: None, name: str) -> None:
    done: Done = COMMANDS[name](line)
    done.failed(12, "wrong password")


def test_a_wrong_recovery_key(line: CommandLine, unharmed: None) -> None:
    key = line.folder / "key"
    key.write_text(line.recovery_key[:-1] + ("0" if line.recovery_key[-1] != "0" else "1"))
    line.run("ls", line.vault, "--recovery-key-file", key, password=None).failed(12, "group 8")


def test_no_vault(line: CommandLine, unharmed: None) -> None:
    empty = line.folder / "empty"
    empty.mkdir()
    line.run("mount", empty, line.mountpoint).failed(13, f"no vault at {empty.as_uri()}", "init")
    assert list(empty.iterdir()) == []


def test_no_store(line: CommandLine, unharmed: None) -> None:
    line.run("mount", line.folder / "missing", line.mountpoint).failed(15, str(line.folder / "missing"))


def test_another_vault_in_its_place(line: CommandLine) -> None:
    os.rename(line.vault, line.folder / "old")
    (line.folder / "other").mkdir()
    with command_line(line.folder / "other") as other:
        other.create_vault()
        os.rename(other.vault, line.vault)
    line.run("mount", line.vault, line.mountpoint).failed(13, "another")


def test_a_newer_format(line: CommandLine) -> None:
    header = line.vault / "cryptdrive.json"
    header.write_text(json.dumps({**json.loads(header.read_text()), "version": 2}))
    line.run("mount", line.vault, line.mountpoint).failed(14, "version 2", "update")


def test_a_mountpoint_that_is_not_empty(line: CommandLine, unharmed: None) -> None:
    (line.mountpoint / "file").touch()
    line.run("mount", line.vault, line.mountpoint).failed(10, str(line.mountpoint), "not empty")
    (line.mountpoint / "file").unlink()


def test_a_broken_configuration(line: CommandLine, unharmed: None) -> None:
    config = line.folder / "bad.toml"
    config.write_text("[defaults.settings]\ndirty_mib_max = 'much'\n")
    done = line.run("mount", line.vault, line.mountpoint, "--config", config)
    done.failed(11, str(config), "[defaults.settings]", "dirty_mib_max")


def test_an_unknown_mount_option(line: CommandLine, unharmed: None) -> None:
    line.run("mount", line.vault, line.mountpoint, "-o", "colour=red").failed(11, "colour=red")


def test_an_address_in_use(line: CommandLine, unharmed: None) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        line.run("mount", line.vault, line.mountpoint, "--webdav", address).failed(11, address)
        line.run("serve", line.vault, "--address", address).failed(11, address)


def test_a_read_only_store(line: CommandLine) -> None:
    line.mount()
    (line.mountpoint / "letter").write_text("content")
    line.umount()
    store = line.folder / "read-only"
    store.mkdir()
    subprocess.run(["mount", "--bind", line.vault, store], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", store], check=True)
    try:
        line.run("mount", store, line.mountpoint).failed(16, str(store), "--read-only")
        for words in (
            ("put", store, __file__, "/"),
            ("mkdir", store, "/new"),
            ("rm", store, "/letter"),
            ("passwd", store),
        ):
            refused = line.run(*words, CRYPTDRIVE_NEW_PASSWORD="new").failed(16, str(store), "read-only")
            assert "--read-only" not in refused.err  # is of no use here
        line.run("init", store).failed(13)
        line.run("mount", store, line.mountpoint, "--read-only").ok()
        assert (line.mountpoint / "letter").read_text() == "content"
        line.umount()
    finally:
        subprocess.run(["umount", "-l", store], check=True)


def test_a_full_store(line: CommandLine) -> None:
    """What the store does not take is said at unmounting, stays here, and is sent by the next mount."""
    store = line.folder / "small"
    store.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", store], check=True)
    try:
        subprocess.run(["cp", "-r", f"{line.vault}/.", store], check=True)
        (line.folder / "state/cryptdrive/stores").rename(line.folder / "forgotten")
        line.run("mount", store, line.mountpoint).ok()
        (line.mountpoint / "large").write_bytes(os.urandom(2 << 20))
        line.run("flush", line.mountpoint).failed(16, "room")
        status = line.status()
        assert "No space left" in str(status["errors"])
        assert status["waiting_files"] == 2
        assert status["waiting_bytes"] > 2 << 20
        assert os.getxattr(line.mountpoint / "large", "user.cryptdrive.state") == b"local"
        line.run("umount", line.mountpoint).failed(20, "No space left", "safe on this machine", "next mount")
        assert not is_mounted(line.mountpoint)
        subprocess.run(["mount", "-o", "remount,size=16m", store], check=True)
        line.run("mount", store, line.mountpoint).ok()
        line.run("umount", line.mountpoint).ok()
        assert len(line.run("get", store, "large", "large").ok().out) == 0
        assert (line.folder / "large").stat().st_size == 2 << 20
    finally:
        line.clean_up()


def test_a_store_that_stays_full_loses_nothing(line: CommandLine) -> None:
    store = line.folder / "small"
    store.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", store], check=True)
    data = os.urandom(2 << 20)
    try:
        subprocess.run(["cp", "-r", f"{line.vault}/.", store], check=True)
        process = line.start("mount", "-f", store, line.mountpoint)
        read_until(process, "Ctrl-C")
        (line.mountpoint / "large").write_bytes(data)
        process.terminate()
        assert process.wait(30) == 20
        assert process.stdout is not None
        assert "safe on this machine" in process.stdout.read()
        # It is shown from here, and published once there is room.
        assert line.run("ls", store).ok().out.split() == ["large"]
        subprocess.run(["mount", "-o", "remount,size=8m", store], check=True)
        line.run("mount", store, line.mountpoint).ok()
        assert (line.mountpoint / "large").read_bytes() == data
        line.run("umount", line.mountpoint).ok()
        shutil.rmtree(line.folder / "state")
        assert line.run("ls", store).ok().out.split() == ["large"]
    finally:
        subprocess.run(["umount", "-l", store], check=True)


def test_a_drive_in_use(line: CommandLine) -> None:
    line.mount()
    pid = line.status()["pid"]
    other = line.folder / "elsewhere"
    other.mkdir()
    line.run("mount", line.vault, other, password=None).failed(19, str(pid), str(line.mountpoint), "umount")
    # Without the record it is the lock that tells.
    record = next((line.folder / "state/cryptdrive/run").glob("*.json"))
    content = record.read_bytes()
    record.unlink()
    line.run("mount", line.vault, other).failed(19, str(pid))
    line.run("put", line.vault, __file__, "/").failed(19, str(pid))
    record.write_bytes(content)
    assert not is_mounted(other)


def test_control_sockets_are_private(line: CommandLine) -> None:
    line.mount()
    folder = line.folder / "state/cryptdrive/run"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_secrets_are_seen_nowhere(line: CommandLine) -> None:
    """Not in arguments, environments of children, logs, local state, or the store."""
    line.run("mount", line.vault, line.mountpoint, "-vv", "--webdav", "127.0.0.1:0").ok()
    (line.mountpoint / "a secret name").write_text("a secret content")
    line.run("flush", line.mountpoint).ok()
    pid = line.status()["pid"]
    assert PASSWORD.encode() not in (Path("/proc") / str(pid) / "cmdline").read_bytes()
    processes = subprocess.run(
        ["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True
    ).stdout
    assert PASSWORD not in processes
    line.umount()
    everything = [*content_of(line.vault).values(), *content_of(line.folder / "state").values()]
    everything += [str(path).encode() for path in line.folder.rglob("*")]
    for word in (PASSWORD, line.recovery_key, "a secret name", "a secret content"):
        assert not any(word.encode() in data for data in everything), word


def test_info_needs_no_password(line: CommandLine) -> None:
    done = line.run("info", line.vault, "--json", password=None).ok()
    facts = json.loads(done.out)
    assert facts["format_version"] == 1
    assert facts["commits"] == facts["newest_commit"] == 1
    assert facts["store_bytes"] == sum(len(data) for data in content_of(line.vault).values())
    assert facts["running"] is False


def test_a_damaged_store(line: CommandLine) -> None:
    line.mount()
    (line.mountpoint / "letter").write_text("content")
    line.umount()
    for pack in (line.vault / "packs").rglob("*"):
        if pack.is_file():
            data = bytearray(pack.read_bytes())
            data[100:-100] = bytes(len(data) - 200)
            pack.chmod(0o600)
            pack.write_bytes(data)
    line.run("ls", line.vault).failed(17)
    assert not is_mounted(line.mountpoint)


def test_a_store_that_went_back(line: CommandLine) -> None:
    old = line.folder / "old"
    subprocess.run(["cp", "-r", line.vault, old], check=True)
    line.mount()
    (line.mountpoint / "letter").write_text("content")
    line.umount()
    subprocess.run(["rm", "-r", line.vault], check=True)
    old.rename(line.vault)
    line.run("mount", line.vault, line.mountpoint).failed(18, "older")
    line.run("ls", line.vault).failed(18)


def test_changing_the_password(line: CommandLine) -> None:
    line.run("passwd", line.vault, CRYPTDRIVE_NEW_PASSWORD="new").ok()
    line.run("ls", line.vault).failed(12)
    line.run("ls", line.vault, password="new").ok()
    key = line.folder / "key"
    key.write_text(line.recovery_key)
    done = line.run(
        "passwd", line.vault, "--recovery-key-file", key, password=None, CRYPTDRIVE_NEW_PASSWORD=PASSWORD
    ).ok()
    assert "not taken back" in done.err
    line.run("ls", line.vault).ok()
    line.run("ls", line.vault, password="new").failed(12)
