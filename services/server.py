"""The server process: owns its engine, recovers, listens; on SIGTERM it drains and ends.

`python -m services.server [-D] [--dir DIR] [-s HOST:PORT]`. It owns the index and every state write (design
rule 1). Under supervisord it is given the listening socket as descriptor 0; otherwise it binds for itself.
"""

from __future__ import annotations

import gc

if __name__ == "__main__":
    gc.disable()  # while the modules load: collections would take 20 ms and find nothing to free

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import uvloop

from common import config, logs, process, self_report
from common.errors import BlobkeepError, ConfigError
from common.threads import Threads
from common.version import VERSION
from services.access.credentials import ServerCredentials, allow_many_descriptors
from services.engine import Engine
from services.engines.choose import choose
from services.frontends.front_door import FrontDoor
from services.frontends.native.app import make_app
from services.frontends.native.fast_path import FastPath
from services.listening import listening_on, listening_sockets, make_server
from services.recovering import open_answering
from services.watch.access_log import AccessLog
from services.watch.monitor import REPORT_EVERY_S, Monitor
from services.watch.request_log import RequestLog

if TYPE_CHECKING:
    from services.access.decisions import Access
    from services.readers.host import Host

log = logging.getLogger("server")

EXIT_FAILED = 1
_OTHER_THREADS = 8  # for what has no threads of its own: digests, mostly


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to stop; returns the exit status: 0 after a drain, 1 when it had to give up."""
    gc.freeze()  # the modules stay: no need to look through them again
    gc.enable()
    os.umask(0o077)  # files 0600 and folders 0700, whatever umask we were given
    try:
        options = config.load(sys.argv[1:] if argv is None else argv, "server")
    except ConfigError as err:
        print(f"server: {err}", file=sys.stderr)  # noqa: T201 - there is no log yet
        return config.EXIT_USAGE
    logs.setup("server", debug=options.debug, log_format=options.log_format)
    process.end_with_threads(EXIT_FAILED)
    process.die_with_parent()
    process.keep_freed_memory()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to read again
    allow_many_descriptors()
    return uvloop.run(_run(options))


async def _run(options: config.Config) -> int:
    """Serve. After any exception the engine is closed and the process ends: it must not keep the port and the
    lock without serving.
    """
    asyncio.get_running_loop().set_default_executor(Threads(_OTHER_THREADS, "other"))
    engine = choose(options)
    status = EXIT_FAILED
    try:
        status = await _serve(engine, options)
    except Exception:
        log.critical("an error that was not expected: the server ends", exc_info=True)
    finally:
        await engine.close()
    log.info("stopped")
    return status


async def _serve(engine: Engine, options: config.Config) -> int:
    began = time.monotonic()
    stopping = asyncio.Event()
    exit_status = 0

    def fail_stop(err: BlobkeepError) -> None:
        nonlocal exit_status
        exit_status = EXIT_FAILED
        stopping.set()

    try:
        credentials = ServerCredentials(options)
        await engine.own()
        me = self_report.begin(engine.reports_dir, "server", REPORT_EVERY_S)
        requests = RequestLog(AccessLog() if options.access_log else None)
        sockets = listening_sockets(options)
        s3_sockets = listening_on(options.s3_listen) if options.s3_listen else []
        credentials.guard([*sockets, *s3_sockets])
        store = await open_answering(engine, sockets, options, requests, credentials.tls, fail_stop)
    except (BlobkeepError, OSError) as err:
        log.critical("cannot start: %s", err)
        return EXIT_FAILED
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, credentials.reload)
    monitor = Monitor(engine, store, requests)
    app = make_app(store, engine.admin(), options, monitor, credentials.access)
    door = FrontDoor(app, store, options, credentials.access, requests)
    fast_path = quick_answer = None
    if options.fast_path and options.http == "blobkeep":
        fast_path = FastPath(door, store, credentials.access, requests, options, door.is_s3_host)
        if not store.is_remote:  # else no read is answered without waiting
            quick_answer = door.quick_answer(fast_path.quick_answer)
    server, drain = make_server(fast_path or door, options, requests, credentials.tls, quick_answer)
    servers = [(server, drain, sockets)]
    if door.s3 is not None and s3_sockets:
        s3_fast = door.s3.fast_path if fast_path is not None else None
        s3_quick = s3_fast.quick_answer if s3_fast is not None and not store.is_remote else None
        made = make_server(s3_fast or door.s3.app, options, requests, credentials.tls, s3_quick)
        servers.append((*made, s3_sockets))
    for one, _, its_sockets in servers:
        one.add_sockets(its_sockets)
    readers = _let_readers_in(engine, options, credentials.access, requests, server, sockets, fast_path)
    if readers is not None:
        credentials.on_certificate = readers.renew_certificates
    sweeping = loop.create_task(door.keep_swept())
    monitor.start(me)
    log.info(
        "Blobkeep %s: serving %s on %s, %.2f s after start%s",
        VERSION,
        engine.serves,
        " ".join(_address(s) for s in sockets),
        time.monotonic() - began,
        _page(sockets, secure=bool(options.tls_cert)),
    )
    if s3_sockets:
        log.info("S3 on %s", " ".join(_address(s) for s in s3_sockets))
    credentials.warn([*sockets, *s3_sockets])
    gc.freeze()  # what is there now stays: no need to look through it in every collection
    await stopping.wait()
    log.info("stopping: requests under way may finish within %g s", options.drain_timeout_s)
    app.settings["live"].close()  # dashboards would keep us until the end of that time
    sweeping.cancel()
    if readers is not None:
        await readers.close()
    if not all(await asyncio.gather(*[drain(options.drain_timeout_s) for _, drain, _ in servers])):
        log.warning("some requests were not done in time and are cut off")
    for one, _, _ in servers:
        await one.close_all_connections()
    credentials.access.close()
    await monitor.close(told=exit_status == 0)
    if requests.access is not None:
        requests.access.close()
    return exit_status


def _let_readers_in(
    engine: Engine,
    options: config.Config,
    access: Access,
    requests: RequestLog,
    server: object,
    sockets: Sequence[socket.socket],
    quick: FastPath | None,
) -> Host | None:
    """See readers.host.begin. Without the option `readers` its code is not loaded, so a start is shorter."""
    if not config.reader_count(options) and options.readers <= 0:
        return None
    from services.readers import host

    return host.begin(engine, options, access, requests, server, sockets, quick)


def _page(sockets: Sequence[socket.socket], *, secure: bool) -> str:
    """The address of the dashboard, as the end of a line; empty if we listen only on unix sockets."""
    for name in (sock.getsockname() for sock in sockets):
        if isinstance(name, tuple):
            return f"; its page: {config.url(*name[:2], secure=secure)}/"
    return ""


def _address(sock: socket.socket) -> str:
    name = sock.getsockname()
    if not isinstance(name, tuple):
        return str(name)
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"


if __name__ == "__main__":
    process.leave(main())
