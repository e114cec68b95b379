"""How a service's processes start and end: `serve` for the API, `work` for the worker."""

import logging
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from types import FrameType
from typing import NoReturn

from fastapi import FastAPI
from pydantic import ValidationError
from pydantic_settings import SettingsError

from llactr_core.errors import LlactrError, OptionError
from services.shared.http.app import ServiceApp
from services.shared.http.draining import Drain, DrainingServer
from services.shared.http.workers import BACKLOG, LEAVING, READY, Place, Workers
from services.shared.jobs.context import CleanUp, Handler
from services.shared.jobs.store import JobStore
from services.shared.jobs.worker import run_worker
from services.shared.settings import ServiceSettings
from services.shared.telemetry.logs import configure_logging
from services.shared.telemetry.traces import close_tracing, configure_tracing
from services.shared.telemetry.worker_server import Pulse, show

NOT_STARTED = 3
USER_INFO = re.compile(r"//[^/\s\"]*@")

logger = logging.getLogger(__name__)


def bind(host: str, port: int) -> socket.socket:
    """A listening address, taken before anything else is started.

    Raises:
        OptionError: the port is taken, or the address is not this machine's.
    """
    listener = None
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # Named in full: asyncio sends small packets at once (TCP_NODELAY) only where it sees that this is TCP.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)  # now, not later: two that have bound the port would both believe it theirs
    except OSError as error:
        if listener is not None:
            listener.close()
        reason = error.strerror or str(error)
        raise OptionError(f"cannot listen on {host}:{port}: {reason}; give another port or end what uses it") from None
    return listener


def serve(build: Callable[[], FastAPI], settings: ServiceSettings) -> None:
    """Serve the app until SIGINT, SIGTERM or SIGHUP, and end the process once callers are sent away (see `Drain`).

    With several workers this process is their parent, and each of them comes here again.
    """
    configure_logging(settings.log_level, f"{settings.service}-api")
    _note(settings)
    place = Place.given()
    if place is None and settings.workers > 1:
        listener = bind(settings.host, settings.port)
        _end(Workers(listener, settings.workers, settings.drain_s).run())
    configure_tracing(f"{settings.service}-api", settings.otlp_endpoint)
    listener = bind(settings.host, settings.port) if place is None else place.listener
    if place is not None:
        place.follow()
    server = _server(build(), settings, place)
    # uvicorn raises the signal again once it has shut down; then the process is done.
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    _on_hangup(server.handle_exit)
    try:
        server.run(sockets=[listener])
    except SystemExit:
        pass
    except Exception:
        logger.exception("the server failed")
        _end(1)
    _end(0 if server.started else NOT_STARTED)


def _server(app: FastAPI, settings: ServiceSettings, place: Place | None) -> DrainingServer:
    proxies = [str(network) for network in settings.trusted_proxies]
    way = app.short_way if isinstance(app, ServiceApp) else None
    if place is None:
        return DrainingServer(Drain(app), backlog=BACKLOG, drain_s=settings.drain_s, way=way, proxies=proxies)
    return DrainingServer(
        Drain(app),
        backlog=1,  # so many are accepted at once; the first worker to wake up would take all that wait
        drain_s=settings.drain_s,
        way=way,
        proxies=proxies,
        is_whole=place.ends_all,
        started_up=partial(place.say, READY),
        leaving=partial(place.say, LEAVING),
        is_free=place.is_free,
    )


def work(
    store: JobStore,
    handlers: Mapping[str, Handler],
    settings: ServiceSettings,
    clean_ups: Mapping[str, CleanUp] | None = None,
) -> None:
    """Do jobs until SIGINT, SIGTERM or SIGHUP; a job at work is given back, and the process ends at once.

    Raises:
        OptionError: the port of the metrics is taken.
    """
    _note(settings)
    pulse = Pulse()
    _show_metrics(settings, pulse)
    configure_tracing(f"{settings.service}-worker", settings.otlp_endpoint)
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    _on_hangup(on_signal)
    run_worker(store, handlers, settings, stop, clean_ups or {}, pulse)
    _end(0)


def _on_hangup(handler: Callable[[int, FrameType | None], None]) -> None:
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as it is under nohup
        signal.signal(signal.SIGHUP, handler)


def _end(status: int) -> NoReturn:
    """End the process; a thread may still be inside native code, it works on nothing that is ours any more."""
    close_tracing()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _note(settings: ServiceSettings) -> None:
    """Tell the log what the process was told, without secrets."""
    logger.debug("settings: %s", USER_INFO.sub("//***@", settings.model_dump_json()))


def _show_metrics(settings: ServiceSettings, pulse: Pulse) -> None:
    host, port = settings.worker_metrics_host, settings.worker_metrics_port
    if port == 0:
        return
    try:
        show(host, port, pulse)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OptionError(f"the worker cannot show its metrics on {host}:{port}: {reason}; give another port") from None


def guarded(main: Callable[[], None]) -> None:
    """Run a process's main; what is wrong with its settings or its surroundings is one line on stderr and status 1."""
    try:
        main()
    except LlactrError as error:
        sys.stderr.write(f"error: {error.detail}\n")
        raise SystemExit(1) from None
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        sys.stderr.write(f"error: setting {name}: {first['msg']}\n")
        raise SystemExit(1) from None
    except SettingsError as error:  # its words: error parsing value for field "NAME" from source "EnvSettingsSource"
        name = next(iter(re.findall(r'field "(\w+)"', str(error))), "")
        sys.stderr.write(f'error: setting {name}: give a JSON list, such as ["/data"]\n')
        raise SystemExit(1) from None


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)
