"""What is missing on a machine is said before anything is mounted."""

import os
import sys
from pathlib import Path

import pytest

from cryptdrive.errors import MountpointError
from cryptdrive.fuse import mount
from cryptdrive.fuse.mount import MountOptions, check_fuse, serve, stop
from tests.model.clock import ManualClock
from tests.model.posix import PosixModel


def test_this_machine_can_mount() -> None:
    check_fuse(MountOptions(allow_other=True))


def test_without_pyfuse3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyfuse3", None)
    with pytest.raises(MountpointError, match=r"extra 'fuse' \(pip install 'cryptdrive\[fuse\]'\)"):
        check_fuse(MountOptions())


def test_without_the_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mount, "FUSE_DEVICE", str(tmp_path / "fuse"))
    with pytest.raises(MountpointError, match="modprobe fuse"):
        check_fuse(MountOptions())


@pytest.fixture
def ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not root, with a device that everybody may open, as distributions have it."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(mount, "FUSE_DEVICE", "/dev/null")


@pytest.mark.usefixtures("ordinary_user")
def test_a_device_that_only_root_may_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(MountpointError, match="this user may not open /dev/null"):
        check_fuse(MountOptions())


@pytest.mark.usefixtures("ordinary_user")
def test_without_fusermount(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MountpointError, match="fusermount3 is missing"):
        check_fuse(MountOptions())


@pytest.mark.usefixtures("ordinary_user")
@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("user_allow_other\n", True),
        ("mount_max = 5\n  user_allow_other # all\n", True),
        ("#user_allow_other\n", False),
        ("user_allow_others\n", False),
        (None, False),
    ],
)
def test_allow_other_for_users(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None, allowed: bool
) -> None:
    configuration = tmp_path / "fuse.conf"
    if text is not None:
        configuration.write_text(text)
    monkeypatch.setattr(mount, "FUSE_CONFIGURATION", str(configuration))
    check_fuse(MountOptions())
    if allowed:
        check_fuse(MountOptions(allow_other=True))
    else:
        with pytest.raises(MountpointError, match="user_allow_other"):
            check_fuse(MountOptions(allow_other=True))


def test_a_bad_mountpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MountpointError, match="does not exist"):
        serve(PosixModel(ManualClock()), tmp_path / "missing", MountOptions(), lambda: None)


def test_stop_without_a_mount() -> None:
    stop()
