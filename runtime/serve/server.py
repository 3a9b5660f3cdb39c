"""A server in a thread of its own: it listens, warms up, says so, and stops when told."""

from __future__ import annotations

import logging
import socket
import threading
import time
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any

from echoexport.runtime.errors import MissingPackageError, SettingError
from echoexport.runtime.serve.guard import Application
from echoexport.runtime.serve.inference.grpc_server import InferenceGrpcServer
from echoexport.runtime.serve.inference.plane import InferencePlane
from echoexport.runtime.serve.log import ServeLog
from echoexport.runtime.serve.settings import ServeSettings, check_serve_settings
from echoexport.runtime.serve.table import SessionTable
from echoexport.runtime.serve.videos.desk import VideoDesk

_PACKAGES = ("starlette", "uvicorn", "websockets", "prometheus_client")
_PING = 2.0  # seconds; a client whose network is gone frees its place after two of them
_START = 10.0
_STOP = 10.0
_MOST_CONNECTIONS = 256


class LiveServer:
    """Serves a table of sessions; a context manager."""

    def __init__(
        self,
        table: SessionTable,
        settings: ServeSettings,
        *,
        log: ServeLog,
        plane: InferencePlane | None = None,
    ) -> None:
        """``plane`` serves the single networks, as far as the settings want them.

        Raises:
            SettingError: settings that cannot work or are not safe.
            MissingPackageError: the extra "serve" is not installed, or "grpc" where that
                is wanted.
        """
        check_serve_settings(settings)
        require_serve_packages()
        self._plane = plane
        self._grpc: InferenceGrpcServer | None = None
        if plane is not None and settings.grpc_port is not None:
            self._grpc = InferenceGrpcServer(plane, settings, log=log)
        self._table = table
        self._settings = settings
        self._log = log
        self._stack = ExitStack()
        self._socket: socket.socket | None = None
        self._server: Any = None
        self._videos = VideoDesk(table, settings, log=log)
        # Not the thread's own join: where a signal interrupts one, Python 3.11 takes the thread
        # for ended.
        self._over = threading.Event()

    def __enter__(self) -> LiveServer:
        """Listen and answer; sessions begin once :meth:`warm_up` is done.

        Raises:
            SettingError: the address or the certificate cannot be used.
        """
        from echoexport.runtime.serve.app import make_app

        by_rest = self._plane if self._settings.inference else None
        application = make_app(
            self._table, self._settings, videos=self._videos, log=self._log, plane=by_rest
        )
        self._socket = _listen(self._settings)
        try:
            self._stack.callback(self._videos.close)
            self._videos.open()
            self._server = _make_uvicorn(application, self._settings, log=self._log)
            if self._grpc is not None:
                self._stack.enter_context(self._grpc)
            threading.Thread(target=self._run, name="echoexport-serve", daemon=True).start()
            self._wait_for_start()
        except BaseException:
            self._stack.close()
            self._socket.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Tell the sessions, let their last words out, and listen no more."""
        if self._plane is not None:
            self._plane.close()
        self._table.stop()
        self._stack.close()
        self._server.should_exit = True
        self._over.wait(timeout=_STOP)
        if self._socket is not None:
            self._socket.close()

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        assert self._socket is not None
        scheme = "http" if self._settings.certificate is None else "https"
        host = self._settings.host.strip("[]")
        shown = f"[{host}]" if ":" in host else host
        return f"{scheme}://{shown}:{self._socket.getsockname()[1]}/"

    @property
    def grpc_port(self) -> int | None:
        """Where the single networks are served by gRPC; None where they are not."""
        return None if self._grpc is None else self._grpc.port

    def warm_up(self) -> None:
        """Make the first session begin as quickly as any. Raises as :func:`open_live` does."""
        begun = time.monotonic()
        if self._plane is not None:
            self._plane.warm_up()
        self._table.warm_up()
        self._log.tell("ready", seconds=round(time.monotonic() - begun, 3), address=self.address)

    def wait(self) -> None:
        """Until the server ends, which it does not by itself."""
        while not self._over.wait(timeout=0.5):  # so that a signal is heard
            pass

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        except BaseException as error:  # a thread's last words
            self._log.fail("the server failed", error)
        finally:
            self._over.set()

    def _wait_for_start(self) -> None:
        until = time.monotonic() + _START
        while not self._server.started:
            if time.monotonic() > until or self._over.is_set():
                raise SettingError("the server did not start; its log says why")
            time.sleep(0.01)


def require_serve_packages() -> None:
    """Raises MissingPackageError: one of what the extra "serve" brings is not installed."""
    for package in _PACKAGES:
        if find_spec(package) is None:
            raise MissingPackageError(package, extra="serve", purpose="serving sessions")


def _listen(settings: ServeSettings) -> socket.socket:
    host = settings.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, settings.port))
        listening.listen(512)
    except OSError as error:
        listening.close()
        raise SettingError(
            f"{settings.host} port {settings.port}: {error.strerror or error}; "
            "choose another with --host and --port"
        ) from error
    return listening


def _make_uvicorn(application: Application, settings: ServeSettings, *, log: ServeLog) -> Any:
    import uvicorn

    from echoexport.runtime.serve.limits.patience import make_patient_protocol

    config = uvicorn.Config(
        application,  # type: ignore[arg-type,unused-ignore]
        loop="asyncio",
        http=make_patient_protocol(),
        ws="websockets-sansio",
        ws_max_size=settings.most_message,
        ws_ping_interval=_PING,
        ws_ping_timeout=_PING,
        ws_per_message_deflate=False,  # H.264 has nothing left to squeeze
        lifespan="on",
        log_config=None,
        access_log=False,  # it would write down addresses with tokens
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=3,
        ssl_certfile=settings.certificate,
        ssl_keyfile=None if settings.key is None else str(settings.key),
    )
    _catch_words(log)
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one
        raise SettingError(f"certificate {settings.certificate}: {error}") from error
    return uvicorn.Server(config)


class _LogBridge(logging.Handler):
    """What the web library says, in our log."""

    def __init__(self, log: ServeLog) -> None:
        super().__init__(level=logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self._log.fail(record.getMessage(), record.exc_info[1])
        else:
            self._log.tell(record.getMessage(), level=record.levelname)


def _catch_words(log: ServeLog) -> None:
    for name in ("uvicorn.error", "aiortc", "aioice"):
        logger = logging.getLogger(name)
        logger.handlers = [_LogBridge(log)]
        logger.propagate = False
