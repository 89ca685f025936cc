"""kill -9 at any moment: the vault opens, and everything that was synced is there."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cryptdrive.drive import Drive
from cryptdrive.store.folder import FolderStore
from cryptdrive.types import ROOT_INODE
from cryptdrive.vfs.values import Caller
from tests.e2e.killed_writer import text
from tests.support.keys import create, local_folders, open_with_password

ROUNDS = 12
ROUNDS_LONG = 120


@pytest.mark.parametrize("rounds", [ROUNDS, pytest.param(ROUNDS_LONG, marks=pytest.mark.slow)])
@pytest.mark.timeout(900)
def test_what_was_synced_survives_kill_9(tmp_path: Path, rounds: int) -> None:
    folders = local_folders(tmp_path / "local")
    store, log = tmp_path / "vault", tmp_path / "log"
    create(FolderStore.create(store), folders)
    log.touch()
    choose = random.Random(7)
    promised: dict[bytes, int] = {}
    may_be_gone: set[bytes] = set()
    kept = 0
    for seed in range(1, rounds + 1):
        log.write_bytes(b"")
        run_and_kill(tmp_path / "local", store, log, seed, choose.uniform(0.02, 0.7))
        for line in log.read_bytes().splitlines()[1:]:
            name, verb, number = line.split()
            if verb == b"may-go":
                may_be_gone.add(name)
                continue
            promised[name] = int(number)
            if verb == b"holds":
                may_be_gone.discard(name)
        drive = open_with_password(FolderStore(store), folders)
        try:
            kept += check(drive, promised, may_be_gone)
        finally:
            drive.close()
    assert kept > rounds


def run_and_kill(state: Path, store: Path, log: Path, seed: int, seconds: float) -> None:
    command = [sys.executable, "-m", "tests.e2e.killed_writer", str(state), str(store), str(log), str(seed)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 30
        while not log.stat().st_size:
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(seconds)
        assert process.poll() is None, process.stderr and process.stderr.read()
        process.send_signal(signal.SIGKILL)


def check(drive: Drive, promised: dict[bytes, int], may_be_gone: set[bytes]) -> int:
    """Each file is a whole write, and none older than what was promised last."""
    fs, caller = drive.fs, Caller()
    handle = fs.opendir(ROOT_INODE)
    names = [entry.name for entry in fs.readdir(handle)]
    fs.closedir(handle)
    for name in names:
        attr = fs.lookup(ROOT_INODE, name)
        opened = fs.open(attr.inode, os.O_RDONLY, caller)
        content = fs.read(opened, 0, attr.size + 1)
        fs.close(opened)
        number = int(content[:8]) if content else 0
        if name.startswith(b"new-") and not content:
            continue
        assert content == text(number, len(content) - 9), name
        assert number >= promised.get(name, 0), name
    assert promised.keys() - may_be_gone <= set(names)
    return sum(1 for name in names if promised.get(name, 0) > 0)
