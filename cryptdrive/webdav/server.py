"""The WebDAV server: wsgidav on cheroot, over the drive's file system."""

import ipaddress
import logging
import socket
import threading
from errno import EADDRINUSE
from pathlib import Path
from typing import Any

from wsgidav.wsgidav_app import WsgiDAVApp

from cryptdrive.config import WebDavOptions
from cryptdrive.errors import ConfigError
from cryptdrive.vfs.filesystem import FileSystem
from cryptdrive.webdav import tls
from cryptdrive.webdav.answers import ErrorAnswers
from cryptdrive.webdav.authentication import Authenticator, OneUser
from cryptdrive.webdav.credential import Credential, load_or_create
from cryptdrive.webdav.gateway import Server, TlsAdapter
from cryptdrive.webdav.locks import DriveLocks, SealedLockStorage, SealedValue
from cryptdrive.webdav.provider import DriveProvider
from cryptdrive.webdav.requests import DriveResolver
from cryptdrive.webdav.security import LOOPBACK_HOSTS, Guard

_log = logging.getLogger(__name__)

THREADS = 32
"""As many requests are served at once; a slow upload keeps one of them busy."""
# For each read from a client, not for a whole request: a slow upload goes on for hours.
CLIENT_TIMEOUT_S = 300
SHUTDOWN_TIMEOUT_S = 10
_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - compared, not bound


class WebdavServer:
    """Serves one drive on one address.

    On loopback plain HTTP, elsewhere TLS only, with the given certificate or a self-made one. The
    credential is made once and kept in ``folder``, which only the user may enter.
    """

    def __init__(
        self,
        fs: FileSystem,
        options: WebDavOptions,
        locks: SealedValue,
        folder: Path,
        *,
        read_only: bool = False,
        umask: int = 0o077,
    ) -> None:
        self.credential: Credential = load_or_create(folder)
        self._options = options
        self._folder = folder
        self._provider = DriveProvider(fs, read_only=read_only, umask=umask)
        self._locks = locks
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self._certificate: Path | None = None

    @property
    def url(self) -> str:
        """Where it is served; with the port that was really bound."""
        host, port = self._bound()
        scheme = "https" if self._certificate else "http"
        shown = socket.gethostname() if host in _EVERYWHERE else _in_url(host)
        return f"{scheme}://{shown}:{port}/"

    @property
    def fingerprint(self) -> str | None:
        """The SHA-256 of the certificate, to be compared by whoever connects; None without TLS."""
        return tls.fingerprint(self._certificate) if self._certificate else None

    def _bound(self) -> tuple[str, int]:
        host, port = self._options.address
        if self._server is not None:
            port = self._server.bind_addr[1]
        return host, port

    def start(self) -> None:
        """Bind and serve in threads of its own. Raises ConfigError: the address cannot be used."""
        server = Server(
            self._options.address,
            lambda environ, start_response: [],
            numthreads=THREADS,
            max=THREADS,
            request_queue_size=128,
            timeout=CLIENT_TIMEOUT_S,
            shutdown_timeout=SHUTDOWN_TIMEOUT_S,
            server_name="cryptdrive",
        )
        server.max_request_header_size = 64 * 1024
        if self._needs_tls():
            server.ssl_adapter = self._adapter()
        try:
            server.prepare()
        except OSError as error:
            host, port = self._options.address
            # cheroot puts the errors of all addresses into one text.
            taken = f"[Errno {EADDRINUSE}]" in str(error)
            why = "something else uses that port; name another one" if taken else error
            raise ConfigError(f"cannot serve on {_in_url(host)}:{port}: {why}") from None
        self._server = server
        host, port = self._bound()
        everywhere = host in _EVERYWHERE
        server.wsgi_app = Guard(
            self._application(),
            [*LOOPBACK_HOSTS, _in_url(host), *([socket.gethostname()] if everywhere else [])],
            self._options.allowed_hosts,
            port,
            scheme="https" if server.ssl_adapter else "http",
            addresses=everywhere,
        )
        self._thread = threading.Thread(target=server.serve, name="webdav", daemon=True)
        self._thread.start()
        _log.info("serving WebDAV on port %d", port)

    def stop(self) -> None:
        """Finish the requests under way, for at most SHUTDOWN_TIMEOUT_S, and let go of the address."""
        if self._server is not None and self._thread is not None:
            self._server.stop()
            self._thread.join()
        self._server = self._thread = None

    def _needs_tls(self) -> bool:
        return self._options.certificate_file is not None or not _is_loopback(self._options.address[0])

    def _adapter(self) -> TlsAdapter:
        certificate, key = self._options.certificate_file, self._options.key_file
        if certificate is None or key is None:
            certificate, key = tls.load_or_make(self._folder, self._options.address[0])
        try:
            adapter = TlsAdapter(str(certificate), str(key))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{certificate} or {key} cannot be used for TLS: {error}") from None
        self._certificate = certificate
        return adapter

    def _application(self) -> WsgiDAVApp:
        config: dict[str, Any] = {
            "provider_mapping": {"/": self._provider},
            "cryptdrive.credential": self.credential,
            "http_authenticator": {
                "domain_controller": OneUser,
                "accept_basic": True,
                "accept_digest": True,
                "default_to_digest": True,
            },
            "middleware_stack": [ErrorAnswers, Authenticator, DriveResolver],
            "lock_storage": False,
            "property_manager": None,
            "hotfixes": {"re_encode_path_info": False},
            "suppress_version_info": True,
            "dir_browser": {"enable": False},
            "logging": {"enable": False},
            "verbose": 1,
        }
        # Its messages name paths, and its errors are ours to log.
        logging.getLogger("wsgidav").setLevel(logging.CRITICAL)
        application = WsgiDAVApp(config)
        manager = DriveLocks(SealedLockStorage(self._locks))
        application.lock_manager = manager
        self._provider.set_lock_manager(manager)
        return application


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
