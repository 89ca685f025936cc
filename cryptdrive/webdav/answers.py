"""What a client sees of an error: the status, and not a word more than it may know."""

from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any

from wsgidav.dav_error import HTTP_INTERNAL_ERROR, HTTP_NOT_MODIFIED, DAVError
from wsgidav.mw.base_mw import BaseMiddleware
from wsgidav.util import SubAppStartResponse

from cryptdrive.errors import CryptdriveError
from cryptdrive.webdav.errors import log_unexpected, to_dav_error


class ErrorAnswers(BaseMiddleware):  # type: ignore[misc]
    """In the place of wsgidav's error printer, which shows the cause of an error, and versions."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        answer = SubAppStartResponse()
        started = False
        try:
            parts: Iterable[bytes] = self.next_app(environ, answer)
            for part in parts:
                if not started:
                    start_response(answer.status, answer.response_headers, answer.exc_info)
                    started = True
                yield part
            if not started:
                start_response(answer.status, answer.response_headers, answer.exc_info)
        except DAVError as error:
            failure = error
        except CryptdriveError as error:
            failure = to_dav_error(error)
        except Exception:
            if started:
                raise
            log_unexpected("a request failed unexpectedly")
            failure = DAVError(HTTP_INTERNAL_ERROR)
        else:
            return
        if started:
            # Too late for a status: the connection is cut, so that the client sees a short body.
            raise failure
        yield from _error_page(failure, start_response)


def _error_page(error: DAVError, start_response: Any) -> Iterator[bytes]:
    # Not wsgidav's own texts: it knows none for 507, 503 and 413.
    known = HTTPStatus(error.value)
    status = f"{known.value} {known.phrase}"
    headers = list(error.add_headers or [])
    if error.value == HTTP_NOT_MODIFIED:
        start_response(status, [*headers, ("Content-Length", "0")])
        yield b""
        return
    if error.err_condition:
        # A precondition of RFC 4918 §16, which clients read.
        kind, body = error.get_response_page()
    else:
        kind, body = "text/plain; charset=utf-8", status.encode("ascii", "replace") + b"\n"
    start_response(status, [*headers, ("Content-Type", kind), ("Content-Length", str(len(body)))])
    yield body if error.add_body else b""
