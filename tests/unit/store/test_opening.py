"""Locations, as people write them."""

from pathlib import Path

import pytest

from cryptdrive.errors import ConfigError, StoreError, StoreRefused, Unavailable
from cryptdrive.store.folder import FolderStore
from cryptdrive.store.memory import MemoryStore
from cryptdrive.store.opening import folder_path, open_store


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/vault", "/vault"),
        ("/vault/../other//", "/other"),
        ("vault", "{home}/vault"),
        ("./a:b", "{home}/a:b"),
        ("~/vault", "{home}/vault"),
        ("file:///vault", "/vault"),
        ("file:/vault", "/vault"),
        ("FILE://localhost/vault", "/vault"),
        ("file:///my%20vault%C3%A4?#", "/my vaultä?#"),
    ],
)
def test_what_names_a_folder(home: Path, location: str, path: str) -> None:
    assert folder_path(location) == path.format(home=home)


@pytest.mark.parametrize(
    "location",
    [
        "",
        "file:",
        "file://",
        "file:relative",
        "file://host/vault",
        "/a\0b",
        "file:///a%00b",
        "~nobody-here/x",
    ],
)
def test_what_names_nothing(location: str) -> None:
    with pytest.raises(ConfigError):
        open_store(location)


@pytest.mark.parametrize("location", ["s3://bucket/prefix", "dropbox:vault", "https://example.org/dav"])
def test_other_kinds_of_store_are_refused_with_what_is_supported(location: str) -> None:
    with pytest.raises(ConfigError, match=r"not supported.*file:///path"):
        open_store(location)


def test_opens_a_folder_and_makes_it_only_when_asked(home: Path) -> None:
    with pytest.raises(Unavailable):
        open_store("a/b/vault")
    assert not (home / "a").exists()
    created = open_store("a/b/vault", create=True)
    assert isinstance(created, FolderStore)
    assert created.capabilities.local_path == str(home / "a/b/vault")
    again = open_store("a/b/vault", create=True)
    again.close()
    created.close()


def test_what_a_store_calls_itself_opens_it(home: Path) -> None:
    first = open_store("wöird na%me", create=True)
    second = open_store(first.url)
    assert second.capabilities.local_path == str(home / "wöird na%me")
    first.close()
    second.close()


def test_memory_is_fresh_each_time() -> None:
    assert isinstance(open_store("memory:"), MemoryStore)
    with pytest.raises(ConfigError):
        open_store("memory:shared")


def test_a_folder_that_cannot_be_made(home: Path) -> None:
    (home / "file").write_bytes(b"")
    with pytest.raises(StoreError) as caught:
        open_store(str(home / "file" / "vault"), create=True)
    assert not isinstance(caught.value, StoreRefused)
    assert str(home / "file") in str(caught.value)
