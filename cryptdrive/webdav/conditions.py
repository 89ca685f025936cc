"""Conditional requests: If-Match and its like (RFC 9110 §13), and WebDAV's If (RFC 4918 §10.4)."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from wsgidav import util
from wsgidav.dav_error import HTTP_BAD_REQUEST, HTTP_NOT_MODIFIED, HTTP_PRECONDITION_FAILED, DAVError

from cryptdrive.webdav.names import unquoted

if TYPE_CHECKING:
    from cryptdrive.webdav.provider import DriveProvider
    from cryptdrive.webdav.resources import DriveResource

IF_BYTES_MAX = 32768
_TOKEN = re.compile(r"\s*(?:<([^<>]*)>|\[\s*([^\[\]]*?)\s*\]|([()])|(not)\b)", re.IGNORECASE)
_ETAG = re.compile(r'\s*(?:W/)?("[^"]*"|[^",\s]+)\s*(?:,|$)')


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a list: a lock's token, or an entity tag without quotes."""

    wanted: bool
    """False after ``Not``."""
    token: str | None
    etag: str | None


@dataclass(frozen=True, slots=True)
class ConditionList:
    """Conditions that hold together, for one resource."""

    tag: str | None
    """The URL of the resource; None for that of the request."""
    conditions: tuple[Condition, ...]


def parse_if(header: str) -> list[ConditionList]:
    """The lists of an If header. Raises DAVError."""
    if len(header) > IF_BYTES_MAX:
        raise DAVError(HTTP_BAD_REQUEST, "The If header is too long.")
    lists: list[ConditionList] = []
    tag: str | None = None
    inside: list[Condition] | None = None
    wanted = True
    position = 0
    header = header.rstrip()
    while position < len(header):
        found = _TOKEN.match(header, position)
        if found is None:
            raise DAVError(HTTP_BAD_REQUEST, "The If header is malformed.")
        position = found.end()
        url, etag, bracket, negation = found.groups()
        if bracket == "(" and inside is None:
            inside, wanted = [], True
        elif bracket == ")" and inside and wanted:
            lists.append(ConditionList(tag, tuple(inside)))
            inside = None
        elif inside is None and url is not None:
            tag = url
        elif inside is not None and negation is not None and wanted:
            wanted = False
        elif inside is not None and bracket is None and negation is None:
            inside.append(Condition(wanted, url, None if etag is None else _opaque(etag)))
            wanted = True
        else:
            raise DAVError(HTTP_BAD_REQUEST, "The If header is malformed.")
    if inside is not None or not lists:
        raise DAVError(HTTP_BAD_REQUEST, "The If header is malformed.")
    return lists


def tokens(lists: list[ConditionList]) -> list[str]:
    """The lock tokens that a request submits."""
    return [each.token for one in lists for each in one.conditions if each.token is not None]


def _opaque(etag: str) -> str:
    etag = etag.removeprefix("W/")
    return etag[1:-1] if len(etag) >= 2 and etag[0] == etag[-1] == '"' else etag


def check_if(
    lists: list[ConditionList],
    provider: "DriveProvider",
    resource: "DriveResource | None",
    environ: dict[str, Any],
) -> None:
    """Raises DAVError unless one of the lists holds."""
    if not lists:
        return
    for one in lists:
        if one.tag is None:
            path, subject = environ["PATH_INFO"], resource
        else:
            url = urlsplit(one.tag)
            if url.netloc and url.netloc.lower() != environ.get("HTTP_HOST", "").lower():
                path, subject = None, None
            else:
                path = "/" + unquoted(url.path.encode("latin-1", "replace")).lstrip("/")
                subject = provider.get_resource_inst(path, environ)
        if _holds(one, provider, path, subject):
            return
    raise DAVError(HTTP_PRECONDITION_FAILED, "The If header does not hold.")


def _holds(
    one: ConditionList, provider: "DriveProvider", path: str | None, subject: "DriveResource | None"
) -> bool:
    held = provider.lock_manager.tokens_of(provider.lock_url(path)) if path is not None else []
    for each in one.conditions:
        if each.token is not None:
            true = each.token in held
        else:
            true = subject is not None and subject.get_etag() == each.etag
        if true != each.wanted:
            return False
    return True


# --- RFC 9110 -----------------------------------------------------------------------------------


def check_http(resource: "DriveResource | None", environ: dict[str, Any]) -> None:
    """If-Match, If-Unmodified-Since, If-None-Match, If-Modified-Since, in that order. Raises DAVError."""
    reading = environ["REQUEST_METHOD"] in ("GET", "HEAD")
    match, none_match = environ.get("HTTP_IF_MATCH"), environ.get("HTTP_IF_NONE_MATCH")
    modified_s = int(resource.get_last_modified()) if resource is not None else None
    if match is not None:
        if not _matches(match, resource):
            raise DAVError(HTTP_PRECONDITION_FAILED, "If-Match does not hold.")
    elif modified_s is not None and "HTTP_IF_UNMODIFIED_SINCE" in environ:
        since = util.parse_time_string(environ["HTTP_IF_UNMODIFIED_SINCE"])
        if since is not None and modified_s > since:
            raise DAVError(HTTP_PRECONDITION_FAILED, "If-Unmodified-Since does not hold.")
    if none_match is not None:
        if _matches(none_match, resource):
            raise _not_modified(resource) if reading else DAVError(HTTP_PRECONDITION_FAILED)
    elif modified_s is not None and reading and "HTTP_IF_MODIFIED_SINCE" in environ:
        since = util.parse_time_string(environ["HTTP_IF_MODIFIED_SINCE"])
        if since is not None and modified_s <= since:
            raise _not_modified(resource)


def _not_modified(resource: "DriveResource | None") -> DAVError:
    assert resource is not None
    return DAVError(HTTP_NOT_MODIFIED, add_headers=[("ETag", f'"{resource.get_etag()}"')])


def _matches(header: str, resource: "DriveResource | None") -> bool:
    if resource is None:
        return False
    if header.strip() == "*":
        return True
    return resource.get_etag() in etags(header)


def etags(header: str) -> list[str]:
    """The entity tags of a list, without quotes; some clients send them without. Raises DAVError."""
    found, position = [], 0
    header = header.strip()
    while position < len(header):
        tag = _ETAG.match(header, position)
        if tag is None:
            raise DAVError(HTTP_BAD_REQUEST, "An entity tag is malformed.")
        found.append(_opaque(tag[1]))
        position = tag.end()
    return found
