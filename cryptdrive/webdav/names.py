"""URL paths ↔ names. Names are bytes; in strings of wsgidav they stand as UTF-8 with surrogate escapes."""

import unicodedata
from urllib.parse import quote, unquote_to_bytes

_SAFE = "/!*'(),$-_|.~"


def to_bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def to_text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def displayed(name: bytes) -> str:
    """For people and XML, which cannot hold what is not UTF-8, nor control characters."""
    text = name.decode("utf-8", "replace")
    return "".join(each if each >= " " and each not in "\x7f\ufffe\uffff" else "\ufffd" for each in text)


def quoted(path: str) -> str:
    """As a URL path; a name that is not UTF-8 is percent-encoded byte by byte."""
    return quote(to_bytes(path), safe=_SAFE)


def unquoted(url_path: str | bytes) -> str:
    """``str``: what is not ASCII in it stands for its UTF-8."""
    return to_text(unquote_to_bytes(url_path))


def forms(name: bytes) -> list[bytes]:
    """The forms under which a name may be stored: as given, composed (NFC), decomposed (NFD)."""
    if name.isascii():
        return [name]
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        return [name]
    found = [name]
    for form in ("NFC", "NFD"):
        other = unicodedata.normalize(form, text).encode("utf-8")
        if other not in found:
            found.append(other)
    return found
