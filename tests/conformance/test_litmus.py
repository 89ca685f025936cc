"""litmus, the WebDAV conformance suite, against the server: all of it."""

import re
import shutil
import subprocess
from pathlib import Path

from tests.support.webdav import serving


def test_litmus_passes_wholly(tmp_path: Path) -> None:
    program = shutil.which("litmus")
    assert program is not None, "litmus is not installed; scripts/setup.sh installs it"
    with serving(tmp_path) as dav:
        credential = dav.server.credential
        run = subprocess.run(
            [program, dav.server.url, credential.user, credential.password],
            cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
    counts = re.findall(r"of (\d+) tests run: (\d+) passed, (\d+) failed", run.stdout)
    assert run.returncode == 0, run.stdout
    assert sum(int(total) for total, _, _ in counts) == 104, run.stdout
    assert sum(int(passed) for _, passed, _ in counts) == 104, run.stdout
