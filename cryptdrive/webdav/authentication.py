"""The drive's one user: Digest (RFC 7616) and Basic (RFC 7617), on top of wsgidav's."""

import base64
import binascii
import hmac
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from wsgidav.dc.base_dc import BaseDomainController
from wsgidav.http_authenticator import HTTPAuthenticator

from cryptdrive.webdav.credential import REALM, Credential
from cryptdrive.webdav.names import unquoted

_log = logging.getLogger(__name__)

NONCE_LIFE_S = 3600
_FAILURE_DELAY_S = 0.3
_DELAYED_MAX = 4
_NONCE = re.compile(r'\bnonce="?([0-9a-f]+)-([0-9a-f]+)"?', re.IGNORECASE)
_BODY = b"The drive's user name and password are wanted.\n"


class Nonces:
    """Nonces that nobody else can make, and that end: a header that was overheard does not serve for ever.

    Nothing is kept for them; they end with the server too.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._key = secrets.token_bytes(32)
        self._now = now

    def make(self) -> str:
        return self._signed(f"{int(self._now()):x}")

    def is_fresh(self, made: str, signature: str) -> bool:
        if not hmac.compare_digest(self._signed(made), f"{made}-{signature}"):
            return False
        return self._now() - int(made, 16) < NONCE_LIFE_S

    def _signed(self, made: str) -> str:
        return f"{made}-{hmac.digest(self._key, made.encode('ascii'), 'sha256').hex()[:32]}"


class Authenticator(HTTPAuthenticator):  # type: ignore[misc]
    """wsgidav's, with nonces that are checked, and 401 for whatever is malformed."""

    def __init__(self, wsgidav_app: Any, next_app: Any, config: dict[str, Any]) -> None:
        super().__init__(wsgidav_app, next_app, config)
        self._nonces = Nonces()
        self._delayed = threading.BoundedSemaphore(_DELAYED_MAX)

    def send_digest_auth_response(
        self, environ: dict[str, Any], start_response: Any, *, stale: bool = False
    ) -> Iterable[bytes]:
        """Ask for either; clients take the first that they know."""
        ended = ", stale=true" if stale else ""
        digest = f'Digest realm="{REALM}", nonce="{self._nonces.make()}", algorithm=MD5, qop="auth"{ended}'
        headers = [
            ("WWW-Authenticate", digest),
            ("WWW-Authenticate", f'Basic realm="{REALM}", charset="UTF-8"'),
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(_BODY))),
        ]
        start_response("401 Unauthorized", headers)
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else _BODY]

    def send_basic_auth_response(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return self._refused(environ, start_response)

    def handle_digest_auth_request(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        header = environ["HTTP_AUTHORIZATION"]
        found = _NONCE.search(header)
        if found is None or not header.isascii():
            return self._refused(environ, start_response)
        if not self._nonces.is_fresh(found[1].lower(), found[2].lower()):
            # The client asks nobody, but tries again with the new nonce.
            return self.send_digest_auth_response(environ, start_response, stale=True)
        response: Iterable[bytes] = super().handle_digest_auth_request(environ, start_response)
        return response

    def handle_basic_auth_request(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            given = base64.b64decode(environ["HTTP_AUTHORIZATION"][len("Basic ") :].strip(), validate=True)
            user, colon, password = given.decode("utf-8").partition(":")
        except (binascii.Error, ValueError):
            return self._refused(environ, start_response)
        if not colon or not self.domain_controller.basic_auth_user(REALM, user, password, environ):
            return self._refused(environ, start_response)
        response: Iterable[bytes] = self.next_app(environ, start_response)
        return response

    def _refused(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        _log.info("a request with a wrong user name or password was refused")
        # Guessing 128 random bits is hopeless; this only keeps a wild client from busying the machine.
        if self._delayed.acquire(blocking=False):
            try:
                time.sleep(_FAILURE_DELAY_S)
            finally:
                self._delayed.release()
        return self.send_digest_auth_response(environ, start_response)

    def _is_digest_uri_valid(self, req_uri: str | None, environ: dict[str, Any]) -> bool:
        """Also for paths that are not UTF-8, and for what wsgidav's comparison changes."""
        if req_uri and req_uri == environ["REQUEST_URI"]:
            return True
        path = urlsplit(req_uri or "").path
        if path and unquoted(path) == environ["PATH_INFO"]:
            query: str = environ.get("QUERY_STRING", "")
            return urlsplit(req_uri or "").query == query
        valid: bool = super()._is_digest_uri_valid(req_uri, environ)
        return valid


class OneUser(BaseDomainController):  # type: ignore[misc]
    """The one user of a drive, for wsgidav's Basic and Digest authentication."""

    def __init__(self, wsgidav_app: Any, config: dict[str, Any]) -> None:
        super().__init__(wsgidav_app, config)
        self._credential: Credential = config["cryptdrive.credential"]

    def __str__(self) -> str:
        return "one user"

    def get_domain_realm(self, path_info: str, environ: dict[str, Any] | None) -> str:
        return REALM

    def require_authentication(self, realm: str, environ: dict[str, Any] | None) -> bool:
        return True

    def basic_auth_user(self, realm: str, user_name: str, password: str, environ: dict[str, Any]) -> bool:
        given = f"{_without_domain(user_name)}\0{password}".encode("utf-8", "surrogatepass")
        expected = f"{self._credential.user}\0{self._credential.password}".encode()
        return hmac.compare_digest(given, expected)

    def supports_http_digest_auth(self) -> bool:
        return True

    def digest_auth_user(self, realm: str, user_name: str, environ: dict[str, Any]) -> str | bool:
        if _without_domain(user_name) != self._credential.user:
            return False
        # The client hashed the name as it sent it.
        hashed: str = self._compute_http_digest_a1(realm, user_name, self._credential.password)
        return hashed


def _without_domain(user_name: str) -> str:
    """Windows sends ``DOMAIN\\name``."""
    return user_name.rpartition("\\")[2]
