"""pjdfstest and fsx on a mounted drive; both are built outside of this repository (docs/conformance.md)."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.fuse_support import Mounted, mounted_at

SUITES = os.environ.get("CRYPTDRIVE_SUITES", "")
FSX_OPERATIONS = 5000
FSX_MODES = {
    "mapped": (),
    "plain": ("-R", "-W"),
    "reopened": ("-c", "20"),
    "direct": ("-Z", "-R", "-W", "-r", "4096", "-w", "4096", "-t", "4096"),
}

pytestmark = [
    pytest.mark.fuse,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not SUITES, reason="make conformance SUITES=dir names the built suites"),
]


@pytest.fixture(scope="module")
def mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    folder = tmp_path_factory.mktemp("suites")
    folder.chmod(0o755)
    for parent in folder.parents[:2]:
        parent.chmod(0o755)  # pjdfstest changes to users who must get here
    with mounted_at("drive", folder / "mount", folder / "vault", "allow_other,dev,suid") as mounted:
        yield mounted


def test_pjdfstest(mount: Mounted) -> None:
    place = mount.path / "pjdfstest"
    place.mkdir(mode=0o755)
    done = subprocess.run(
        ["prove", "-r", f"{SUITES}/pjdfstest/tests"],
        cwd=place, capture_output=True, text=True, check=False, umask=0o022,
    )  # fmt: skip
    assert "All tests successful" in done.stdout, done.stdout[-5000:] + done.stderr[-2000:]
    assert "Tests=87" in done.stdout or "Tests=88" in done.stdout, done.stdout[-500:]


@pytest.mark.parametrize("mode", FSX_MODES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_fsx(mount: Mounted, tmp_path: Path, mode: str, seed: int) -> None:
    words = [
        f"{SUITES}/xfstests/ltp/fsx",
        "-q",
        "-N",
        str(FSX_OPERATIONS),
        "-S",
        str(seed),
        "-P",
        str(tmp_path),
    ]
    done = subprocess.run(
        [*words, *FSX_MODES[mode], mount.path / f"fsx-{mode}-{seed}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
