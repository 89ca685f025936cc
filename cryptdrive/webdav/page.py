"""A folder as a page for browsers: names to click on, and nothing that could run."""

from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from html import escape
from typing import Any
from urllib.parse import quote

from cryptdrive.webdav.names import displayed, to_bytes
from cryptdrive.webdav.properties import http_date
from cryptdrive.webdav.resources import DriveResource, FolderResource

_PIECE_BYTES = 1 << 16
_STYLE = (
    "body{font:16px sans-serif;margin:2em}table{border-collapse:collapse}"
    "td{padding:.2em 1.5em .2em 0}td+td{text-align:right;color:#666}"
)
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def send(folder: FolderResource, environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    """Answer with the page, as the folder is read.

    Its links count from the folder: without a slash at the end a browser is sent to where there is one.
    """
    if environ["REQUEST_METHOD"] == "GET" and not environ["PATH_INFO"].endswith("/"):
        start_response("301 Moved Permanently", [("Location", folder.get_href()), ("Content-Length", "0")])
        return
    headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Last-Modified", http_date(folder.attr.mtime_ns)),
        ("ETag", f'"{folder.get_etag()}"'),
        ("Cache-Control", "no-cache, private"),
        ("Content-Security-Policy", _POLICY),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
    ]
    start_response("200 OK", headers)
    if environ["REQUEST_METHOD"] == "HEAD":
        return
    shown = escape(displayed(to_bytes(folder.path)))
    parts = [f"<!DOCTYPE html>\n<html><head><title>{shown}</title><style>{_STYLE}</style></head>"]
    parts.append(f"<body><h1>{shown}</h1>\n<table>\n")
    if folder.path != "/":
        parts.append('<tr><td><a href="../">..</a></td></tr>\n')
    size = 0
    for member in folder.members():
        parts.append(_row(member))
        size += len(parts[-1])
        if size > _PIECE_BYTES:
            yield "".join(parts).encode("utf-8")
            parts, size = [], 0
    yield ("".join(parts) + "</table></body></html>\n").encode("utf-8")


def _row(member: DriveResource) -> str:
    slash = "/" if member.is_collection else ""
    # Relative, with every character escaped that could make it anything else than a name.
    link = "./" + quote(member.found.stored[-1], safe="") + slash
    size = "" if member.is_collection else f"{member.attr.size:,}"
    modified = http_date(member.attr.mtime_ns)
    name = f'<a href="{link}">{escape(member.name)}{slash}</a>'
    return f"<tr><td>{name}</td><td>{size}</td><td>{modified}</td></tr>\n"
