"""The If header and its relatives."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsgidav.dav_error import DAVError

from cryptdrive.webdav.conditions import Condition, ConditionList, etags, parse_if, tokens
from tests.support.webdav import Client, serving
from tests.unit.webdav.test_clients import lock


@pytest.fixture
def dav(tmp_path: Path) -> Iterator[Client]:
    with serving(tmp_path) as client:
        yield client


def test_lists_with_and_without_tags() -> None:
    lists = parse_if('(<urn:a> ["e1"]) (Not <urn:b>)')
    assert lists == [
        ConditionList(None, (Condition(True, "urn:a", None), Condition(True, None, "e1"))),
        ConditionList(None, (Condition(False, "urn:b", None),)),
    ]
    assert tokens(lists) == ["urn:a", "urn:b"]
    tagged = parse_if('<http://host/a>(<urn:a>)([W/"e"]) </b> (not ["e2"]<urn:c>)')
    assert [each.tag for each in tagged] == ["http://host/a", "http://host/a", "/b"]
    assert tagged[2].conditions == (Condition(False, None, "e2"), Condition(True, "urn:c", None))


@pytest.mark.parametrize(
    "header",
    [
        "",
        "()",
        "(",
        "(<a>",
        "<a>",
        "<a> <b>",
        "(<a>))",
        "((<a>))",
        "(Not)",
        "(Not Not <a>)",
        "x",
        "(<a> x)",
        "[e]",
    ],
)
def test_malformed_if(header: str) -> None:
    with pytest.raises(DAVError):
        parse_if(header)


@given(st.text(alphabet='<>()[]"Notab \t', max_size=40))
def test_any_if_is_parsed_or_refused(header: str) -> None:
    try:
        lists = parse_if(header)
    except DAVError:
        return
    assert all(each.conditions for each in lists)


def test_a_long_if_is_refused_at_once() -> None:
    with pytest.raises(DAVError):
        parse_if("(" * 1_000_000)


def test_entity_tags() -> None:
    assert etags('"a", W/"b" ,c') == ["a", "b", "c"]
    assert etags('"a,b"') == ["a,b"]
    with pytest.raises(DAVError):
        etags('"a" "b"')


def test_tagged_lists_are_for_their_resource(dav: Client) -> None:
    etag = dav("PUT", "/a", b"x").headers["etag"]
    dav("PUT", "/b", b"x")
    url = dav.server.url
    assert dav("PUT", "/b", b"y", If=f"<{url}a> ([{etag}])").status == 204
    assert dav("PUT", "/b", b"y", If="</a> ([" + etag + "])").status == 204
    assert dav("PUT", "/b", b"y", If=f"<{url}b> ([{etag}])").status == 412
    assert dav("PUT", "/b", b"y", If=f"([{etag}])").status == 412
    assert dav("PUT", "/b", b"y", If=f"<http://elsewhere/a> ([{etag}])").status == 412
    assert dav("PUT", "/b", b"y", If=f"([{etag}]) (Not [{etag}])").status == 204
    assert dav("PUT", "/b", b"y", If="nonsense").status == 400


def test_what_is_not_there_meets_no_condition_but_not(dav: Client) -> None:
    assert dav("PUT", "/new", b"x", If='(["e"])').status == 412
    assert dav("PUT", "/new", b"x", If="(<opaquelocktoken:x>)").status == 412
    assert dav("PUT", "/new", b"x", If="(Not <DAV:no-lock>)").status == 201
    assert dav("PUT", "/other", b"x", If_None_Match="*").status == 201
    assert dav("PUT", "/other", b"x", If_None_Match="*").status == 412


def test_a_copy_is_conditional_on_its_source(dav: Client) -> None:
    etag = dav("PUT", "/a", b"a").headers["etag"]
    dav("PUT", "/b", b"b")
    assert dav("COPY", "/a", Destination="/b", If_Match=etag).status == 204
    assert dav("MOVE", "/a", Destination="/b", If_Match='"other"').status == 412
    token = lock(dav, "/b")
    assert dav("MOVE", "/a", Destination="/b").status == 423
    assert dav("MOVE", "/a", Destination="/b", If=f"<{dav.server.url}b> ({token})").status == 204


def test_a_token_counts_only_where_it_covers(dav: Client) -> None:
    dav("MKCOL", "/d")
    dav("PUT", "/d/f", b"x")
    deep = lock(dav, "/d", Depth="infinity")
    assert dav("PUT", "/d/f", b"y").status == 423
    assert dav("PUT", "/d/f", b"y", If=f"({deep})").status == 204
    assert dav("PUT", "/d/new", b"y").status == 423
    assert dav("PUT", "/d/new", b"y", If=f"({deep})").status == 201
    assert dav("PUT", "/d/new", b"y", If=f"</d> ({deep})").status == 204
    assert dav("UNLOCK", "/d/f", Lock_Token=deep).status == 204
    shallow = lock(dav, "/d", Depth="0")
    assert dav("PUT", "/d/f", b"y").status == 204
    assert dav("PUT", "/d/new2", b"y").status == 423
    assert dav("UNLOCK", "/d/f", Lock_Token=shallow).status == 409
    assert dav("DELETE", "/d/new", If=f"</d> ({shallow})").status == 204
