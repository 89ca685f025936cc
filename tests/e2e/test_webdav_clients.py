"""Real WebDAV programs against a real server: those that are installed."""

import filecmp
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cryptdrive.clock import SystemClock
from cryptdrive.config import WebDavOptions
from cryptdrive.types import ROOT_INODE
from cryptdrive.vfs.filesystem import FileSystem
from cryptdrive.vfs.values import Caller
from cryptdrive.webdav import tls
from tests.support.disk import RealDisk
from tests.support.vault import SmallVault, folder_store
from tests.support.webdav import Client, eventually, serving

NAMES = (
    "plain",
    "a b",
    "a+b",
    "100%",
    "x#y",
    "q?",
    "a&b;c",
    "it's",
    'say "x"',
    "é",
    "e\u0301",
    "日本",
    "[1]",
    "~x",
)


@pytest.fixture
def dav(tmp_path: Path) -> Iterator[Client]:
    folder = tmp_path / "server"
    folder.mkdir()
    with serving(folder) as client:
        yield client


def program(name: str) -> str:
    """Where it is; without it the test is skipped, in CI it fails."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None and os.environ.get("CI") == "true":
        pytest.fail(f"{name} is not installed: scripts/setup.sh installs it", pytrace=False)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*words: str, folder: Path, given: str | None = None, seconds: int = 120, **variables: str) -> str:
    """Its output; the test fails where the program does."""
    done = subprocess.run(
        words, cwd=folder, input=given, capture_output=True, text=True, timeout=seconds, check=False,
        env={**os.environ, "HOME": str(folder), "LC_ALL": "C.UTF-8", **variables},
    )  # fmt: skip
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def sample_tree(folder: Path) -> Path:
    """Files of many names and sizes."""
    top = folder / "tree"
    for number, name in enumerate(NAMES):
        (top / name).mkdir(parents=True)
        (top / name / name).write_bytes(os.urandom(number * 1000))
    (top / "empty").mkdir()
    (top / "large.bin").write_bytes(os.urandom(20 << 20))
    return top


def assert_same(one: Path, other: Path) -> None:
    compared = [filecmp.dircmp(one, other, ignore=["lost+found"])]
    while compared:
        each = compared.pop()
        assert not each.left_only
        assert not each.right_only
        assert not each.funny_files
        _, different, failed = filecmp.cmpfiles(each.left, each.right, each.common_files, shallow=False)
        assert not different + failed
        compared += each.subdirs.values()


def content(fs: FileSystem, path: bytes) -> bytes:
    attr = fs.resolve(path)
    handle = fs.open(attr.inode, os.O_RDONLY, Caller())
    try:
        return fs.read(handle, 0, attr.size)
    finally:
        fs.close(handle)


def entries(fs: FileSystem, path: bytes = b"/") -> set[bytes]:
    handle = fs.opendir(fs.resolve(path).inode)
    try:
        return {entry.name for entry in fs.readdir(handle)}
    finally:
        fs.closedir(handle)


# --- curl --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["--basic", "--digest", "--anyauth"])
def test_curl(dav: Client, tmp_path: Path, scheme: str) -> None:
    curl, credential = program("curl"), dav.server.credential
    (tmp_path / ".netrc").write_text(f"default login {credential.user} password {credential.password}\n")
    data = os.urandom(3 << 20)
    (tmp_path / "data").write_bytes(data)
    words = (curl, "--silent", "--show-error", "--fail", "--netrc", scheme)
    url = dav.server.url
    run(*words, "-T", "data", url + "a%20b.bin", folder=tmp_path)
    run(*words, "-o", "back", url + "a%20b.bin", folder=tmp_path)
    assert (tmp_path / "back").read_bytes() == data
    run(*words, "-o", "part", "-r", "1000-1999", url + "a%20b.bin", folder=tmp_path)
    assert (tmp_path / "part").read_bytes() == data[1000:2000]
    (tmp_path / "half").write_bytes(data[: 1 << 20])
    run(*words, "-o", "half", "-C", "-", url + "a%20b.bin", folder=tmp_path)
    assert (tmp_path / "half").read_bytes() == data
    if scheme != "--anyauth":  # which would have to send what it has read already again
        run(*words, "-T", "-", url + "piped", folder=tmp_path, given="from a pipe")
        assert content(dav.fs, b"/piped") == b"from a pipe"
    else:
        run(*words, "-T", "data", url + "piped", folder=tmp_path)
    run(*words, "-X", "MOVE", "-H", f"Destination: {url}moved", url + "piped", folder=tmp_path)
    run(*words, "-X", "DELETE", url + "moved", folder=tmp_path)
    assert entries(dav.fs) == {b"a b.bin"}


def test_curl_checks_the_self_made_certificate(tmp_path: Path) -> None:
    curl = program("curl")
    certificate, key = tls.load_or_make(tmp_path, "127.0.0.1")
    options = WebDavOptions(address=("127.0.0.1", 0), certificate_file=certificate, key_file=key)
    with serving(tmp_path, options=options) as dav:
        credential = dav.server.credential
        (tmp_path / ".netrc").write_text(f"default login {credential.user} password {credential.password}\n")
        words = (curl, "--silent", "--fail", "--netrc", "--cacert", str(certificate), "--output", "/dev/null")
        run(*words, dav.server.url, folder=tmp_path)
        refused = subprocess.run([curl, "--silent", dav.server.url], check=False, capture_output=True)
        assert refused.returncode == 60


# --- cadaver -----------------------------------------------------------------------------------


def test_cadaver(dav: Client, tmp_path: Path) -> None:
    cadaver, credential = program("cadaver"), dav.server.credential
    (tmp_path / ".netrc").write_text(
        f"machine 127.0.0.1 login {credential.user} password {credential.password}\n"
    )
    (tmp_path / ".netrc").chmod(0o600)
    data = os.urandom(2 << 20)
    (tmp_path / "data").write_bytes(data)
    script = """
    mkcol folder
    cd folder
    put data
    copy data copied
    move copied moved
    propset data colour green
    propget data colour
    lock data
    discover data
    put data
    unlock data
    get data back
    ls
    cd ..
    ls
    rmcol folder
    mput data
    chexec + data
    """
    output = run(cadaver, dav.server.url, folder=tmp_path, given=script + "quit\n")
    assert "failed" not in output.replace("chexec", "").split("Setting isexecutable")[0], output
    assert "green" in output
    assert "Value" in output or "colour" in output
    assert (tmp_path / "back").read_bytes() == data
    assert entries(dav.fs) == {b"data"}
    assert content(dav.fs, b"/data") == data


# --- davfs2 ------------------------------------------------------------------------------------


@contextmanager
def davfs_mounted(dav: Client) -> Iterator[Path]:
    mount_davfs = program("mount.davfs")
    if os.geteuid() or not Path("/dev/fuse").exists():
        pytest.skip("davfs2 needs root and /dev/fuse")
    credential = dav.server.credential
    # It goes on as a user of its own, who may not enter the tests' folders.
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    mountpoint, cache, secrets = folder / "mount", folder / "cache", folder / "secrets"
    mountpoint.mkdir()
    cache.mkdir()
    shutil.chown(cache, "davfs2", "davfs2")
    cache.chmod(0o777)
    secrets.write_text(f"{mountpoint} {credential.user} {credential.password}\n")
    secrets.chmod(0o600)
    settings = folder / "davfs.conf"
    settings.write_text(f"secrets {secrets}\ncache_dir {cache}\nuse_locks 1\ndelay_upload 0\nask_auth 0\n")
    try:
        run(mount_davfs, "-o", f"conf={settings}", dav.server.url, str(mountpoint), folder=folder)
        try:
            yield mountpoint
        finally:
            done = subprocess.run(["umount", "-i", str(mountpoint)], check=False, capture_output=True)
        assert done.returncode == 0, done.stderr
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_davfs2(dav: Client, tmp_path: Path) -> None:
    tree = sample_tree(tmp_path)
    # One of each pair of forms: a server that finds a name in either form has one file for both.
    shutil.rmtree(tree / "e\u0301")
    with davfs_mounted(dav) as mountpoint:
        shutil.copytree(tree, mountpoint / "tree")
        # Not by listing: davfs2 before 1.7 cannot list anything on recent kernels.
        for file in (each for each in tree.rglob("*") if each.is_file()):
            assert (mountpoint / "tree" / file.relative_to(tree)).read_bytes() == file.read_bytes()
        (mountpoint / "tree" / "plain" / "plain").write_text("saved again")
        (mountpoint / "tree" / "large.bin").rename(mountpoint / "renamed.bin")
        (mountpoint / "tree" / "empty").rmdir()
        with (mountpoint / "log").open("a") as log:
            log.write("one\n")
        assert shutil.disk_usage(mountpoint).total > 0
    assert eventually(lambda: b"renamed.bin" in entries(dav.fs), 30)
    assert eventually(lambda: content(dav.fs, b"/tree/plain/plain") == b"saved again", 30)
    assert content(dav.fs, b"/renamed.bin") == (tree / "large.bin").read_bytes()
    assert entries(dav.fs, b"/tree") == {name.name.encode() for name in tree.iterdir()} - {
        b"large.bin",
        b"empty",
    }
    assert eventually(lambda: content(dav.fs, b"/log") == b"one\n", 30)


# --- rclone ------------------------------------------------------------------------------------


def test_rclone(dav: Client, tmp_path: Path) -> None:
    rclone, credential = program("rclone"), dav.server.credential
    obscured = run(rclone, "obscure", "-", folder=tmp_path, given=credential.password).strip()
    remote = {
        "RCLONE_CONFIG": str(tmp_path / "rclone.conf"),
        "RCLONE_CONFIG_D_TYPE": "webdav",
        "RCLONE_CONFIG_D_URL": dav.server.url,
        # Uses X-OC-Mtime.
        "RCLONE_CONFIG_D_VENDOR": "owncloud",
        "RCLONE_CONFIG_D_USER": credential.user,
        "RCLONE_CONFIG_D_PASS": obscured,
    }
    tree = sample_tree(tmp_path)
    shutil.rmtree(tree / "e\u0301")
    old = time.time() - 10_000_000
    os.utime(tree / "plain" / "plain", (old, old))
    words = (rclone, "--retries", "1")
    run(*words, "sync", "--create-empty-src-dirs", str(tree), "D:tree", folder=tmp_path, **remote)
    run(*words, "check", "--download", str(tree), "D:tree", folder=tmp_path, **remote)
    stored = dav.fs.resolve(b"/tree/plain/plain").mtime_ns
    assert abs(stored - old * 1e9) < 2e9
    run(*words, "moveto", "D:tree/plain", "D:moved", folder=tmp_path, **remote)
    run(*words, "copyto", "D:moved/plain", "D:copied", folder=tmp_path, **remote)
    run(*words, "sync", "--create-empty-src-dirs", str(tree), "D:tree", folder=tmp_path, **remote)
    run(*words, "copy", "D:tree", str(tmp_path / "back"), folder=tmp_path, **remote)
    shutil.copytree(tree / "empty", tmp_path / "back" / "empty", dirs_exist_ok=True)
    assert_same(tree, tmp_path / "back")
    run(*words, "purge", "D:tree", folder=tmp_path, **remote)
    assert entries(dav.fs) == {b"moved", b"copied"}


# --- load --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_large_upload_takes_little_memory(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    piece, count = os.urandom(1 << 20), 1024
    (tmp_path / "store").mkdir()
    (tmp_path / "local").mkdir()
    disk = RealDisk(tmp_path / "local")
    fs = SmallVault(folder_store(tmp_path / "store"), SystemClock(), disk=disk).open(forget=False)
    with serving(tmp_path, fs=fs) as dav:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        answer = dav("PUT", "/large", (piece for _ in range(count)), Transfer_Encoding="chunked")
        assert answer.status == 201
        part = dav("GET", "/large", Range=f"bytes={(count - 1) << 20}-")
        assert part.body == piece
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert fs.lookup(ROOT_INODE, b"large").size == count << 20
    assert grown_kib < 400 << 10


@pytest.mark.slow
def test_many_clients_at_once(dav: Client) -> None:
    """Each sees only what it has put itself, and nothing is left open."""
    failures: list[str] = []

    def work(number: int) -> None:
        connection = dav.connection()
        headers = dav.authorization()
        for turn in range(40):
            data = b"%d:%d " % (number, turn) * 2000
            for method, path, body in (("PUT", f"/{number}", data), ("GET", f"/{number}", None)):
                connection.request(method, path, body, headers)
                answer = connection.getresponse()
                found = answer.read()
                if answer.status >= 400 or (method == "GET" and found != data):
                    failures.append(f"{method} {path}: {answer.status}")
            connection.request("PROPFIND", "/", headers={**headers, "Depth": "1"})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 207:
                failures.append(f"PROPFIND: {answer.status}")
        connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(48)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failures == []
    assert len(entries(dav.fs)) == 48
    assert eventually(lambda: dav.fs.open_handles() == 0)
