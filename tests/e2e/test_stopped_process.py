"""A drive's process that does not answer: everybody is told, and nobody hangs with it."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cli_support import CommandLine, command_line, is_mounted

pytestmark = [pytest.mark.fuse, pytest.mark.slow]


@pytest.fixture
def line(tmp_path: Path) -> Iterator[CommandLine]:
    with command_line(tmp_path) as line:
        line.create_vault()
        yield line


def test_a_stopped_process_holds_up_nobody(line: CommandLine) -> None:
    line.mount()
    (line.mountpoint / "letter").write_text("content")
    pid = line.status()["pid"]
    time.sleep(1.5)  # until the kernel has forgotten the attributes of the drive's root
    os.kill(pid, signal.SIGSTOP)
    try:
        status = json.loads(line.run("status", "--json").ok().out)["drives"][0]
        assert (status["state"], status["pid"]) == ("does not answer", pid)
        assert status["mountpoint"] == str(line.mountpoint)
        for words in (["umount", line.mountpoint], ["ls", line.vault], ["flush", line.mountpoint]):
            line.run(*words).failed(1, f"process {pid}", "does not answer")
        line.run("mount", line.vault, line.mountpoint).failed(10, "does not answer")
        elsewhere = line.folder / "elsewhere"
        elsewhere.mkdir()
        line.run("mount", line.vault, elsewhere).failed(19, str(pid))
    finally:
        os.kill(pid, signal.SIGCONT)
    line.run("umount", line.mountpoint)  # the one that was given up may be faster
    assert not is_mounted(line.mountpoint)
    assert line.run("get", line.vault, "letter", "-").ok().out == "content"
