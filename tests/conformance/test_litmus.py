"""litmus, the WebDAV conformance suite, against the server: all of it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cryptdrive.config import WebDavOptions
from cryptdrive.webdav import tls
from tests.support.webdav import serving


# litmus itself leaves one out (expect100) over TLS.
@pytest.mark.parametrize(("scheme", "tests"), [("http", 104), ("https", 103)])
def test_litmus_passes_wholly(tmp_path: Path, scheme: str, tests: int) -> None:
    program = shutil.which("litmus")
    assert program is not None, "litmus is not installed; scripts/setup.sh installs it"
    certificate, key = tls.load_or_make(tmp_path, "127.0.0.1") if scheme == "https" else (None, None)
    options = WebDavOptions(address=("127.0.0.1", 0), certificate_file=certificate, key_file=key)
    with serving(tmp_path, options=options) as dav:
        assert dav.server.url.startswith(f"{scheme}://")
        credential = dav.server.credential
        run = subprocess.run(
            [program, dav.server.url, credential.user, credential.password],
            cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
    counts = re.findall(r"of (\d+) tests run: (\d+) passed, (\d+) failed", run.stdout)
    assert run.returncode == 0, run.stdout
    assert sum(int(total) for total, _, _ in counts) == tests, run.stdout
    assert sum(int(passed) for _, passed, _ in counts) == tests, run.stdout
    assert "WARNING" not in run.stdout, run.stdout
