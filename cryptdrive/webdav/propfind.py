"""PROPFIND, written out as it is read: a folder may have more entries than memory should hold."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from wsgidav import util
from wsgidav.dav_error import HTTP_BAD_REQUEST, HTTP_NOT_FOUND, DAVError

from cryptdrive.webdav import properties
from cryptdrive.webdav.errors import translated
from cryptdrive.webdav.properties import DAV
from cryptdrive.webdav.resources import DriveResource, FolderResource

BUFFERED_BYTES_MAX = 1 << 20
"""Up to this size an answer has a Content-Length, which some clients want."""
NAMES_MAX = 1000
_PIECE_BYTES = 1 << 16
_HEAD = '<?xml version="1.0" encoding="utf-8"?>\n<D:multistatus xmlns:D="DAV:">'
_TAIL = "</D:multistatus>\n"


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of each resource."""

    names: tuple[str, ...] | None
    """In Clark notation; None for all that RFC 4918 calls all, and ``included``."""
    included: tuple[str, ...] = ()
    names_only: bool = False


def parse(environ: dict[str, Any]) -> Query:
    """The request's body. Raises DAVError."""
    root = util.parse_xml_body(environ, allow_empty=True)
    if root is None:
        return Query(None)
    if root.tag != "{DAV:}propfind":
        raise DAVError(HTTP_BAD_REQUEST)
    asked = {child.tag: child for child in root if isinstance(child.tag, str)}
    kinds = asked.keys() & {"{DAV:}prop", "{DAV:}allprop", "{DAV:}propname"}
    if len(kinds) != 1:
        raise DAVError(HTTP_BAD_REQUEST)
    if "{DAV:}prop" in asked:
        return Query(_names(asked["{DAV:}prop"]))
    if "{DAV:}propname" in asked:
        return Query(None, names_only=True)
    return Query(None, _names(asked.get("{DAV:}include", ())))


def _names(parent: Any) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(child.tag for child in parent if isinstance(child.tag, str)))
    if len(names) > NAMES_MAX:
        raise DAVError(HTTP_BAD_REQUEST)
    return names


def answer(top: DriveResource, depth: str, query: Query, start_response: Any) -> Iterator[bytes]:
    """The multistatus response; ``depth`` is "0", "1", "1,noroot" or "infinity"."""
    pieces = _pieces(top, depth, query)
    buffered: list[bytes] = []
    size = 0
    headers = [("Content-Type", "application/xml; charset=utf-8")]
    for piece in pieces:
        buffered.append(piece)
        size += len(piece)
        if size > BUFFERED_BYTES_MAX:
            break
    else:
        headers.append(("Content-Length", str(size)))
    start_response("207 Multi-Status", headers)
    yield from buffered
    yield from pieces


def _pieces(top: DriveResource, depth: str, query: Query) -> Iterator[bytes]:
    parts, size = [_HEAD], 0
    for resource in _resources(top, depth):
        try:
            with translated():
                part = _response(resource, query)
        except DAVError as error:
            # It went away after its name was read.
            if error.value != HTTP_NOT_FOUND or resource is top:
                raise
            continue
        parts.append(part)
        size += len(part)
        if size > _PIECE_BYTES:
            yield "".join(parts).encode("utf-8")
            parts, size = [], 0
    parts.append(_TAIL)
    yield "".join(parts).encode("utf-8")


def _resources(top: DriveResource, depth: str) -> Iterator[DriveResource]:
    """Links to folders are shown, but not entered: they may lead in circles."""
    if depth != "1,noroot":
        yield top
    if depth == "0" or not isinstance(top, FolderResource):
        return
    # As deep as the tree, and never as wide.
    listings = [top.members()]
    try:
        while listings:
            try:
                member = next(listings[-1])
            except StopIteration:
                listings.pop()
                continue
            except DAVError as error:
                if error.value != HTTP_NOT_FOUND or len(listings) == 1:
                    raise
                listings.pop()
                continue
            yield member
            if depth == "infinity" and isinstance(member, FolderResource) and not member.found.linked:
                listings.append(member.members())
    finally:
        for listing in listings:
            listing.close()


def _response(resource: DriveResource, query: Query) -> str:
    names = query.names
    if names is None:
        names = (*properties.names(resource, everything=query.names_only), *query.included)
    found: list[str] = []
    missing: list[str] = []
    for name in names:
        if query.names_only:
            found.append(_element(name, ""))
            continue
        inner = properties.inner_xml(resource, name)
        if inner is not None:
            found.append(_element(name, inner))
            continue
        dead = None if name.startswith(DAV) else properties.dead_xml(resource, name)
        (missing if dead is None else found).append(_element(name, "") if dead is None else dead)
    groups = []
    if found or not missing:
        groups.append(_group(found, "200 OK"))
    if missing:
        groups.append(_group(missing, "404 Not Found"))
    href = escape(resource.get_href())
    return f"<D:response><D:href>{href}</D:href>{''.join(groups)}</D:response>\n"


def _group(elements: list[str], status: str) -> str:
    properties_xml = "".join(elements)
    return f"<D:propstat><D:prop>{properties_xml}</D:prop><D:status>HTTP/1.1 {status}</D:status></D:propstat>"


def _element(name: str, inner: str) -> str:
    if name.startswith(DAV):
        tag, namespace = f"D:{name[len(DAV) :]}", ""
    else:
        space, _, local = name.rpartition("}")
        tag, namespace = local, f" xmlns={quoteattr(space[1:])}"
    return f"<{tag}{namespace}>{inner}</{tag}>" if inner else f"<{tag}{namespace}/>"
