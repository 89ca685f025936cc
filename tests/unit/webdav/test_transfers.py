"""COPY and MOVE, and PUT through links."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cryptdrive.types import ROOT_INODE
from cryptdrive.vfs.values import Caller
from tests.support.webdav import Client, serving

CALLER = Caller(origin="test")


@pytest.fixture
def dav(tmp_path: Path) -> Iterator[Client]:
    with serving(tmp_path) as client:
        yield client


def names(dav: Client, path: bytes = b"/") -> list[bytes]:
    handle = dav.fs.opendir(dav.fs.resolve(path).inode)
    found = [entry.name for entry in dav.fs.readdir(handle)]
    dav.fs.closedir(handle)
    return found


@pytest.mark.parametrize(
    "destination",
    [
        "",
        "http://elsewhere/x",
        "ftp://@HOST@/x",
        "//elsewhere/x",
        "relative",
        "http://@HOST@",
        "/",
        "/a/../../x",
        "/a%2Fb",
        "/%00",
        "/%2e%2e/x",
    ],
)
def test_destinations_that_cannot_be(dav: Client, destination: str) -> None:
    dav("PUT", "/f", b"x")
    host, port = dav.address
    answer = dav("MOVE", "/f", Destination=destination.replace("@HOST@", f"{host}:{port}"))
    assert answer.status in (400, 403, 502)
    assert names(dav) == [b"f"]


def test_a_name_is_changed_to_its_other_form(dav: Client) -> None:
    dav("PUT", "/e%CC%81", b"text")
    for overwrite in ("F", "T"):
        assert dav("MOVE", "/e%CC%81", Destination="/%C3%A9", Overwrite=overwrite).status in (201, 204)
        assert names(dav) == ["é".encode()]
        assert dav("MOVE", "/%C3%A9", Destination="/e%CC%81", Overwrite=overwrite).status in (201, 204)
        assert names(dav) == ["e\u0301".encode()]
    assert dav("GET", "/%C3%A9").body == b"text"


def test_a_file_is_not_moved_onto_itself(dav: Client) -> None:
    dav("PUT", "/f", b"text")
    assert dav("MOVE", "/f", Destination="/f").status == 403
    assert dav("COPY", "/f", Destination="/f").status == 403
    assert dav("GET", "/f").body == b"text"


def test_a_hard_link_is_moved_over_another(dav: Client) -> None:
    dav("PUT", "/a", b"text")
    dav.fs.link(dav.fs.lookup(ROOT_INODE, b"a").inode, ROOT_INODE, b"b", CALLER)
    assert dav("MOVE", "/a", Destination="/b").status == 204
    assert names(dav) == [b"b"]
    assert dav("GET", "/b").body == b"text"


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
@pytest.mark.parametrize("source", ["file", "folder"])
@pytest.mark.parametrize("target", ["file", "empty", "full"])
def test_anything_replaces_anything(dav: Client, method: str, source: str, target: str) -> None:
    if source == "file":
        dav("PUT", "/s", b"source")
    else:
        dav("MKCOL", "/s")
        dav("PUT", "/s/inside", b"source")
    if target == "file":
        dav("PUT", "/t", b"target")
    else:
        dav("MKCOL", "/t")
        if target == "full":
            dav("MKCOL", "/t/deep")
            dav("PUT", "/t/deep/old", b"target")
    assert dav(method, "/s", Destination="/t", Overwrite="F").status == 412
    assert dav(method, "/s", Destination="/t", Overwrite="T").status == 204
    assert dav("GET", "/t" if source == "file" else "/t/inside").body == b"source"
    assert dav("GET", "/t/deep/old").status == 404
    assert names(dav) == ([b"t"] if method == "MOVE" else [b"s", b"t"])


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_not_into_itself(dav: Client, method: str) -> None:
    for path in ("/a", "/a/b", "/a/b/c", "/ab"):
        dav("MKCOL", path)
    for source, target in (("/a", "/a/b/x"), ("/a", "/a/b"), ("/a/b/c", "/a"), ("/a/b/c", "/a/b")):
        assert dav(method, source, Destination=target).status == 403
    assert dav(method, "/a/b/c", Destination="/ab/c").status == 201
    assert dav("PROPFIND", "/a/b", Depth="0").status == 207


def test_a_copy_takes_the_properties_along_and_goes_its_own_way(dav: Client) -> None:
    dav("MKCOL", "/s")
    dav("PUT", "/s/f", b"one")
    patch = (
        b'<propertyupdate xmlns="DAV:"><set><prop><a xmlns="urn:x">value</a></prop></set></propertyupdate>'
    )
    for path in ("/s", "/s/f"):
        assert dav("PROPPATCH", path, patch).status == 207
    assert dav("COPY", "/s", Destination="/deep").status == 201
    assert dav("COPY", "/s", Destination="/shallow", Depth="0").status == 201
    for path in ("/deep", "/deep/f", "/shallow"):
        assert b">value</" in dav("PROPFIND", path, Depth="0").body
    assert dav("GET", "/shallow/f").status == 404
    dav("PUT", "/s/f", b"two")
    assert dav("GET", "/deep/f").body == b"one"
    assert dav("COPY", "/s", Destination="/x", Depth="1").status == 400
    assert dav("MOVE", "/s", Destination="/x", Depth="0").status == 400


def test_old_clients_send_a_body_with_copy(dav: Client) -> None:
    dav("PUT", "/f", b"x")
    body = b'<propertybehavior xmlns="DAV:"><keepalive>*</keepalive></propertybehavior>'
    assert dav("COPY", "/f", body, Destination="/g").status == 201
    assert dav("GET", "/g").body == b"x"


# --- links -------------------------------------------------------------------------------------


def test_put_writes_behind_a_link(dav: Client) -> None:
    fs = dav.fs
    dav("MKCOL", "/d")
    dav("PUT", "/d/real", b"old")
    for name, target in ((b"relative", b"d/real"), (b"absolute", b"/d/real"), (b"chain", b"relative")):
        fs.symlink(ROOT_INODE, name, target, CALLER)
    directory = fs.lookup(ROOT_INODE, b"d").inode
    fs.symlink(directory, b"up", b"../d/./real", CALLER)
    for path in ("/relative", "/absolute", "/chain", "/d/up"):
        assert dav("PUT", path, path.encode()).status == 204
        assert dav("GET", "/d/real").body == path.encode()
    assert fs.readlink(fs.lookup(ROOT_INODE, b"relative").inode) == b"d/real"


def test_put_through_a_link_to_what_is_not_there_yet(dav: Client) -> None:
    fs = dav.fs
    dav("MKCOL", "/d")
    fs.symlink(ROOT_INODE, b"to-new", b"d/new", CALLER)
    fs.symlink(ROOT_INODE, b"to-nowhere", b"missing/new", CALLER)
    fs.symlink(ROOT_INODE, b"circle", b"circle", CALLER)
    fs.symlink(ROOT_INODE, b"to-folder", b"d", CALLER)
    fs.symlink(ROOT_INODE, b"to-root", b"..", CALLER)
    assert dav("PUT", "/to-new", b"text").status == 201
    assert dav("GET", "/d/new").body == b"text"
    assert dav("PUT", "/to-nowhere", b"text").status == 409
    assert dav("PUT", "/circle", b"text").status == 400
    assert dav("PUT", "/to-folder", b"text").status == 405
    assert dav("PUT", "/to-root", b"text").status == 405
    assert dav("PUT", "/to-folder/f", b"text").status == 201
    assert dav("GET", "/d/f").body == b"text"


def test_moving_and_deleting_a_link_leaves_what_it_leads_to(dav: Client) -> None:
    dav("MKCOL", "/d")
    dav("PUT", "/d/f", b"text")
    dav.fs.symlink(ROOT_INODE, b"link", b"d", CALLER)
    assert dav("MOVE", "/link", Destination="/moved").status == 201
    assert dav("GET", "/moved/f").body == b"text"
    assert dav("DELETE", "/moved").status == 204
    assert dav("GET", "/d/f").body == b"text"
