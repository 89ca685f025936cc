"""Properties of a resource: live ones from its attributes, dead ones kept as extended attributes.

Dead properties belong to the inode: they move and are copied with their file, and an upload keeps them.
"""

import logging
import mimetypes
import re
import time
from collections.abc import Iterator
from email.utils import formatdate
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from wsgidav import util, xml_tools
from wsgidav.dav_error import (
    HTTP_BAD_REQUEST,
    HTTP_FORBIDDEN,
    HTTP_NOT_FOUND,
    DAVError,
    PRECONDITION_CODE_ProtectedProperty,
)

from cryptdrive.errors import NoAttribute, TooBig
from cryptdrive.schema.records import XATTR_VALUE_BYTES_MAX
from cryptdrive.vfs.values import SetAttr, XattrFlags
from cryptdrive.webdav.errors import translated

if TYPE_CHECKING:
    from cryptdrive.webdav.resources import DriveResource

_log = logging.getLogger(__name__)

NANOSECONDS = 1_000_000_000
_EARLIEST_S, _LATEST_S = -62135596800, 253402300799
"""The years 1 to 9999: what dates in text can say."""
_ATTRIBUTE_PREFIX = b"user.webdav."
_CLARK_NAME = re.compile(r"(?:\{[^{}<>&\x00-\x1f\ud800-\udfff\ufffe\uffff]*\})?[^\W\d][\w.\-]*")

DAV = "{DAV:}"
_LOCK_PROPERTIES = ("lockdiscovery", "supportedlock")
_COMMON = ("resourcetype", "creationdate", "getlastmodified", "displayname", "getetag", *_LOCK_PROPERTIES)
_OF_FILES = ("getcontentlength", "getcontenttype")
_OF_FOLDERS = ("quota-used-bytes", "quota-available-bytes")
WINDOWS = "{urn:schemas-microsoft-com:}"
"""Windows and Office keep a file's times and attributes in properties of this namespace."""
_WINDOWS_MODIFIED = WINDOWS + "Win32LastModifiedTime"
_LOCK_KINDS = "".join(
    f"<D:lockentry><D:lockscope><D:{scope}/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>"
    for scope in ("exclusive", "shared")
)


def http_date(time_ns: int) -> str:
    """As HTTP writes it; whatever year the file says it is of."""
    return formatdate(min(max(time_ns // NANOSECONDS, _EARLIEST_S), _LATEST_S), usegmt=True)


def _iso_date(time_ns: int) -> str:
    seconds = min(max(time_ns // NANOSECONDS, _EARLIEST_S), _LATEST_S)
    year, *rest = time.gmtime(seconds)[:6]
    return "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z".format(year, *rest)


def content_type(path: str) -> str:
    """Guessed from the name."""
    guessed, encoding = mimetypes.guess_type("/" + path.rpartition("/")[2], strict=False)
    # A compressed text is not a text.
    return guessed if guessed is not None and encoding is None else "application/octet-stream"


# --- reading ---------------------------------------------------------------------------------


def names(resource: "DriveResource", *, everything: bool) -> list[str]:
    """In Clark notation; quota only with ``everything`` (RFC 4331 §2)."""
    more = _OF_FILES if not resource.is_collection else _OF_FOLDERS if everything else ()
    return [DAV + name for name in (*_COMMON, *more)] + list(_dead_names(resource))


def inner_xml(resource: "DriveResource", name: str) -> str | None:
    """What stands in a live property's element, with DAV: as prefix D; None if there is none of that name."""
    if not name.startswith(DAV):
        return None
    attr = resource.attr
    match name[len(DAV) :]:
        case "resourcetype":
            return "<D:collection/>" if resource.is_collection else ""
        case "creationdate":
            return _iso_date(attr.btime_ns)
        case "getlastmodified":
            return http_date(attr.mtime_ns)
        case "displayname":
            return escape(resource.name)
        case "getetag":
            return f'"{resource.get_etag()}"'
        case "getcontentlength" if not resource.is_collection:
            return str(attr.size)
        case "getcontenttype" if not resource.is_collection:
            return escape(content_type(resource.path))
        case "quota-used-bytes" if resource.is_collection:
            return str(resource.fs.statfs().used_bytes)
        case "quota-available-bytes" if resource.is_collection:
            return str(resource.fs.statfs().available_bytes)
        case "supportedlock":
            return "" if resource.provider.read_only else _LOCK_KINDS
        case "lockdiscovery":
            return _active_locks(resource)
    return None


def dead_xml(resource: "DriveResource", name: str) -> str | None:
    """A dead property's whole element; None if there is none."""
    stored = _load(resource, name)
    if stored is None:
        return None
    try:
        found = xml_tools.string_to_xml(stored)
    except (SyntaxError, ValueError, TypeError):
        _log.debug("a property is no XML", exc_info=True)
        return None
    if found.tag != name:
        return None
    if name == _WINDOWS_MODIFIED:
        found.text = http_date(resource.attr.mtime_ns)
    return _as_text(found)


def element(resource: "DriveResource", name: str) -> Any:
    """A property's element. Raises DAVError: there is none."""
    with translated():
        inner = inner_xml(resource, name)
        if inner is not None:
            text: str | None = f'<D:{name[len(DAV) :]} xmlns:D="DAV:">{inner}</D:{name[len(DAV) :]}>'
        else:
            text = dead_xml(resource, name)
    if text is None:
        raise DAVError(HTTP_NOT_FOUND)
    return xml_tools.string_to_xml(text)


def _active_locks(resource: "DriveResource") -> str:
    """The locks on a resource, those of the folders above it among them (RFC 4918 §15.8)."""
    manager = resource.provider.lock_manager
    if manager is None or manager.storage.is_empty:
        return ""
    parts = []
    for lock in manager.get_indirect_url_lock_list(resource.get_ref_url()):
        left = max(0, int(lock["expire"] - time.time()))
        parts.append(
            f"<D:activelock><D:locktype><D:write/></D:locktype><D:lockscope><D:{lock['scope']}/></D:lockscope>"
            f"<D:depth>{lock['depth']}</D:depth>{_owner(lock['owner'])}<D:timeout>Second-{left}</D:timeout>"
            f"<D:locktoken><D:href>{escape(lock['token'])}</D:href></D:locktoken>"
            f"<D:lockroot><D:href>{escape(lock['root'])}</D:href></D:lockroot></D:activelock>"
        )
    return "".join(parts)


def _owner(owner: bytes) -> str:
    return _as_text(xml_tools.string_to_xml(owner)) if owner else ""


def _as_text(found: Any) -> str:
    """An element with its namespaces, without an XML declaration."""
    found.tail = None
    text: str = util.etree.tostring(found, encoding="unicode")
    return text


# --- dead properties ---------------------------------------------------------------------------


def _attribute(name: str) -> bytes:
    """Property names have no bound, attributes' do: the name itself stands in the value."""
    return _ATTRIBUTE_PREFIX + sha256(name.encode("utf-8")).hexdigest()[:32].encode("ascii")


def _dead_names(resource: "DriveResource") -> Iterator[str]:
    fs, inode = resource.fs, resource.attr.inode
    for attribute in fs.listxattr(inode):
        if attribute.startswith(_ATTRIBUTE_PREFIX):
            name = fs.getxattr(inode, attribute).partition(b"\0")[0].decode("utf-8", "replace")
            # Everybody who may write the file may write its extended attributes.
            if _attribute(name) == attribute and _CLARK_NAME.fullmatch(name):
                yield name


def _load(resource: "DriveResource", name: str) -> bytes | None:
    try:
        return resource.fs.getxattr(resource.attr.inode, _attribute(name)).partition(b"\0")[2]
    except NoAttribute:
        return None


# --- changing --------------------------------------------------------------------------------


def change(resource: "DriveResource", name: str, value: Any, *, dry_run: bool) -> None:
    """Set a property to an element, or remove it (None). Raises DAVError."""
    if name in (DAV + each for each in (*_COMMON, *_OF_FILES, *_OF_FOLDERS)):
        if name != DAV + "getlastmodified" or value is None:
            raise DAVError(HTTP_FORBIDDEN, err_condition=PRECONDITION_CODE_ProtectedProperty)
        seconds = _seconds(value.text)
        if seconds is None:
            raise DAVError(HTTP_BAD_REQUEST)
        if not dry_run:
            _set_modified(resource, seconds)
        return
    if name.startswith(DAV):
        raise DAVError(HTTP_FORBIDDEN)
    with translated():
        if value is None:
            if not dry_run:
                _remove(resource, name)
            return
        stored = name.encode("utf-8") + b"\0" + _as_text(value).encode("utf-8")
        if len(stored) > XATTR_VALUE_BYTES_MAX:
            raise TooBig("a property is too large")
        if dry_run:
            return
        fs, caller = resource.fs, resource.provider.caller
        fs.setxattr(resource.attr.inode, _attribute(name), stored, XattrFlags.NONE, caller)
    seconds = _seconds(value.text) if name == _WINDOWS_MODIFIED else None
    if seconds is not None:
        _set_modified(resource, seconds)


def _remove(resource: "DriveResource", name: str) -> None:
    """Removing what is not there is no error."""
    try:
        resource.fs.removexattr(resource.attr.inode, _attribute(name), resource.provider.caller)
    except NoAttribute:
        return


def _seconds(text: str | None) -> int | None:
    """As HTTP writes a date, or seconds since the epoch; None for anything else."""
    text = (text or "").strip()
    if text.isascii() and text.isdigit() and len(text) < 12:
        return int(text)
    found: int | None = util.parse_time_string(text) if text else None
    return found


def _set_modified(resource: "DriveResource", seconds: int) -> None:
    with translated():
        changes = SetAttr(mtime_ns=int(seconds) * NANOSECONDS)
        resource.attr = resource.fs.setattr(resource.attr.inode, changes, resource.provider.caller)
