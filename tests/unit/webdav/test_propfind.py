"""PROPFIND and PROPPATCH."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest

from cryptdrive.types import ROOT_INODE
from cryptdrive.vfs.values import Caller, SetAttr, XattrFlags
from cryptdrive.webdav import properties, propfind
from tests.support.webdav import Client, serving
from tests.unit.webdav.test_clients import ask

CALLER = Caller(origin="test")


@pytest.fixture
def dav(tmp_path: Path) -> Iterator[Client]:
    with serving(tmp_path) as client:
        yield client


def hrefs(body: bytes) -> list[str]:
    return [str(each.text) for each in ElementTree.fromstring(body).iter("{DAV:}href")]


def patch(set_xml: str = "", remove_xml: str = "") -> bytes:
    parts = [f"<D:set><D:prop>{set_xml}</D:prop></D:set>"] if set_xml else []
    parts += [f"<D:remove><D:prop>{remove_xml}</D:prop></D:remove>"] if remove_xml else []
    return f'<D:propertyupdate xmlns:D="DAV:">{"".join(parts)}</D:propertyupdate>'.encode()


def tree(dav: Client) -> None:
    for path in ("/a", "/a/b"):
        dav("MKCOL", path)
    for path in ("/f", "/a/f", "/a/b/f"):
        dav("PUT", path, b"x")


def test_depths(dav: Client) -> None:
    tree(dav)
    assert hrefs(dav("PROPFIND", "/a", Depth="0").body) == ["/a/"]
    assert hrefs(dav("PROPFIND", "/a", Depth="1").body) == ["/a/", "/a/b/", "/a/f"]
    assert hrefs(dav("PROPFIND", "/a", Depth="1,noroot").body) == ["/a/b/", "/a/f"]
    everything = {"/", "/a/", "/f", "/a/b/", "/a/f", "/a/b/f"}
    assert set(hrefs(dav("PROPFIND", "/", Depth="infinity").body)) == everything
    assert set(hrefs(dav("PROPFIND", "/").body)) == everything
    assert dav("PROPFIND", "/", Depth="2").status == 400
    assert hrefs(dav("PROPFIND", "/f", Depth="1").body) == ["/f"]


def test_links_that_lead_in_circles(dav: Client) -> None:
    tree(dav)
    dav.fs.symlink(dav.fs.resolve(b"/a/b").inode, b"up", b"../..", CALLER)
    found = hrefs(dav("PROPFIND", "/", Depth="infinity").body)
    assert "/a/b/up/" in found
    assert not any(each.startswith("/a/b/up/a") for each in found)
    assert "/a/b/up/a/" in hrefs(dav("PROPFIND", "/a/b/up", Depth="1").body)


def test_a_deep_tree(dav: Client) -> None:
    parent = ROOT_INODE
    for _ in range(1500):
        parent = dav.fs.mkdir(parent, b"d", 0o755, CALLER).inode
    assert len(hrefs(dav("PROPFIND", "/", ask("getetag"), Depth="infinity").body)) == 1501
    assert dav.fs.open_handles() == 0


@pytest.mark.parametrize("limit", [1, 1 << 20])
def test_a_large_folder(dav: Client, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(propfind, "BUFFERED_BYTES_MAX", limit)
    for number in range(1000):
        dav.fs.mknod(ROOT_INODE, b"%04d" % number, 0o100644, 0, CALLER)
    answer = dav("PROPFIND", "/", ask("getetag"), Depth="1")
    assert hrefs(answer.body) == ["/", *(f"/{number:04}" for number in range(1000))]
    assert ("content-length" in answer.headers) == (limit > 1)
    assert dav.fs.open_handles() == 0


def test_names_only_and_included(dav: Client) -> None:
    dav("PUT", "/f", b"x")
    dav("PROPPATCH", "/f", patch('<a xmlns="urn:x">value</a>'))
    names = dav("PROPFIND", "/f", b'<propfind xmlns="DAV:"><propname/></propfind>', Depth="0").body
    assert b"<D:getetag/>" in names
    assert b'<a xmlns="urn:x"/>' in names
    assert b"value" not in names
    body = b'<propfind xmlns="DAV:"><allprop/><include><quota-used-bytes/><x/></include></propfind>'
    included = dav("PROPFIND", "/", body, Depth="0").body
    assert b"<D:quota-used-bytes>" in included
    assert b"<D:getetag>" in included
    assert re.search(rb"<D:x/></D:prop><D:status>HTTP/1.1 404", included)


@pytest.mark.parametrize(
    "body",
    [
        b"<",
        b"text",
        b"<x/>",
        b'<propfind xmlns="DAV:"/>',
        b'<propfind xmlns="DAV:"><allprop/><propname/></propfind>',
        b'<propfind xmlns="DAV:"><prop/><propname/></propfind>',
        b'<propfind xmlns="DAV:"><prop><a:b/></prop></propfind>',
    ],
)
def test_malformed_bodies(dav: Client, body: bytes) -> None:
    assert dav("PROPFIND", "/", body, Depth="0").status == 400


def test_entities_are_not_expanded(dav: Client) -> None:
    layers = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<!DOCTYPE x [<!ENTITY e0 "x">{layers}]>'.encode() + patch("<a>&e9;</a>")
    assert dav("PROPPATCH", "/", bomb).status in (207, 400)
    assert len(dav("PROPFIND", "/", Depth="0").body) < 10_000
    outside = b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    answer = dav("PROPPATCH", "/", outside + patch('<a xmlns="urn:x">&e;</a>'))
    assert b"root:" not in answer.body + dav("PROPFIND", "/", Depth="0").body


def test_a_body_has_a_limit(dav: Client) -> None:
    assert dav("PROPFIND", "/", b" " * (2 << 20), Depth="0").status == 413
    many = "".join(f"<p{number}/>" for number in range(1001))
    body = f'<D:propfind xmlns:D="DAV:"><D:prop>{many}</D:prop></D:propfind>'.encode()
    assert dav("PROPFIND", "/", body, Depth="0").status == 400


@pytest.mark.parametrize("name", ["a&b<c>", 'q"uo', "é€", "a b", "%41", "x]]>y"])
def test_names_in_xml(dav: Client, name: str) -> None:
    dav.fs.mknod(ROOT_INODE, name.encode(), 0o100644, 0, CALLER)
    root = ElementTree.fromstring(dav("PROPFIND", "/", ask("displayname"), Depth="1").body)
    assert [each.text for each in root.iter("{DAV:}displayname")] == [None, name]
    href = hrefs(dav("PROPFIND", "/", Depth="1").body)[1]
    assert dav("GET", href).status == 200


@pytest.mark.parametrize("name", [b"\xff\xfe", b"a\x01b", b"\xed\xa0\x80", b"new\nline", b"\xef\xbf\xbe"])
def test_names_that_xml_cannot_hold(dav: Client, name: bytes) -> None:
    dav.fs.mknod(ROOT_INODE, name, 0o100644, 0, CALLER)
    body = dav("PROPFIND", "/", Depth="1").body
    href = hrefs(body)[1]
    assert unquote_to_bytes(href) == b"/" + name
    assert href.isascii()
    assert dav("PUT", href, b"text").status == 204
    assert [entry.name for entry in dav.fs.readdir(dav.fs.opendir(ROOT_INODE))] == [name]
    assert dav("PROPFIND", href, Depth="0").status == 207


@pytest.mark.parametrize(
    "year_s", [-(1 << 62) // 10**9, -70_000_000_000, 0, 300_000_000_000, (1 << 62) // 10**9]
)
def test_times_that_no_date_can_say(dav: Client, year_s: int) -> None:
    dav("PUT", "/f", b"x")
    inode = dav.fs.lookup(ROOT_INODE, b"f").inode
    dav.fs.setattr(inode, SetAttr(mtime_ns=year_s * 10**9), CALLER)
    assert dav("PROPFIND", "/", Depth="1").status == 207
    assert dav("GET", "/f", If_Modified_Since="Mon, 02 Mar 2020 10:11:12 GMT").status in (200, 304)


# --- PROPPATCH ---------------------------------------------------------------------------------


def test_properties_keep_their_structure(dav: Client) -> None:
    dav("PUT", "/f", b"x")
    value = '<a xmlns="urn:x" b="1&amp;2">text<c xmlns="">é</c>tail<d/></a>'
    assert dav("PROPPATCH", "/f", patch(value)).status == 207
    found = dav("PROPFIND", "/f", ask("{urn:x}a"), Depth="0").body
    (element,) = ElementTree.fromstring(found).iter("{urn:x}a")
    assert element.attrib == {"b": "1&2"}
    assert [(each.tag, each.text, each.tail) for each in element] == [
        ("c", "é", "tail"),
        ("{urn:x}d", None, None),
    ]
    assert dav("PROPPATCH", "/f", patch(remove_xml='<a xmlns="urn:x"/><never xmlns="urn:x"/>')).status == 207
    assert b"404 Not Found" in dav("PROPFIND", "/f", ask("{urn:x}a"), Depth="0").body


def test_all_or_nothing(dav: Client) -> None:
    dav("PUT", "/f", b"x")
    answer = dav("PROPPATCH", "/f", patch('<a xmlns="urn:x">1</a><D:getetag>"e"</D:getetag>'))
    assert b"424 Failed Dependency" in answer.body
    assert b"403 Forbidden" in answer.body
    assert b"404" in dav("PROPFIND", "/f", ask("{urn:x}a"), Depth="0").body


def test_the_time_of_a_change_can_be_set(dav: Client) -> None:
    dav("PUT", "/f", b"x")
    for text in ("Tue, 03 Mar 2020 10:11:12 GMT", "1583230272"):
        assert (
            b"200 OK" in dav("PROPPATCH", "/f", patch(f"<D:getlastmodified>{text}</D:getlastmodified>")).body
        )
        assert dav("HEAD", "/f").headers["last-modified"] == "Tue, 03 Mar 2020 10:11:12 GMT"
        dav("PUT", "/f", b"y")
    assert b"400" in dav("PROPPATCH", "/f", patch("<D:getlastmodified>soon</D:getlastmodified>")).body


def test_a_property_has_a_limit(dav: Client) -> None:
    dav("PUT", "/f", b"x")
    answer = dav("PROPPATCH", "/f", patch(f'<a xmlns="urn:x">{"x" * 70_000}</a>'))
    assert b"413" in answer.body
    answer = dav("PROPPATCH", "/f", patch(f'<a xmlns="urn:x">{"x" * 60_000}</a>'))
    assert b"200 OK" in answer.body


def test_what_others_write_into_the_attributes_does_no_harm(dav: Client) -> None:
    dav("PUT", "/f", b"x")
    inode = dav.fs.lookup(ROOT_INODE, b"f").inode
    dav.fs.setxattr(inode, b"user.webdav.nonsense", b"\xff\0\xff", XattrFlags.NONE, CALLER)
    for name, value in (
        ("{urn:x}a", b"<not xml"),
        ("{urn:x}b", b"<other/>"),
        ("x><script/><y", b"<x/>"),
        ("{\0}c", b""),
    ):
        key = properties._attribute(name)
        dav.fs.setxattr(inode, key, name.encode() + b"\0" + value, XattrFlags.NONE, CALLER)
    for body in (b"", b'<propfind xmlns="DAV:"><propname/></propfind>'):
        answer = dav("PROPFIND", "/f", body, Depth="0")
        assert answer.status == 207
        ElementTree.fromstring(answer.body)
        assert b"script" not in answer.body


def test_a_failure_is_not_shown(dav: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    dav("PUT", "/f", b"x")

    def failing(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(dav.fs, "setxattr", failing)
    answer = dav("PROPPATCH", "/f", patch('<a xmlns="urn:x">1</a>'))
    assert b"500" in answer.body
    assert b"secret" not in answer.body
