"""A reader process: answers plain GET and HEAD beside the server, on the same port, on another core.

`python -m services.reader [-D] [--dir DIR]`. It knows the blobs that the server shows it, and hands every
other request to the server with its connection. It writes no state and holds no lock.
docs/decisions/readers.md says why a read sees every write that was acknowledged before it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import ssl
import sys
from collections.abc import Sequence

import uvloop

from common import config, logs, process, self_report
from common.errors import ConfigError
from common.self_report import SelfReport
from services.access.certificate import tls_context
from services.access.credentials import allow_many_descriptors, public_prefixes
from services.engine import Engine
from services.engines.choose import choose
from services.frontends.native.quick_reads import QuickReads
from services.frontends.native.ready_answers import ReadyAnswers
from services.frontends.s3.names import is_host_of_s3, s3_hosts
from services.listening import make_own_server
from services.readers.front import Front
from services.readers.guest import Guest
from services.readers.rights import ToldAccess
from services.watch.access_log import AccessLog
from services.watch.request_log import RequestLog

log = logging.getLogger("reader")

_REPORT_EVERY_S = 5.0
EXIT_MISLED = 1  # supervisord starts us anew, and so with the options as they are now


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to stop; returns the exit status: 0 after a drain, 1 if our options are old."""
    os.umask(0o077)
    try:
        options = config.load(sys.argv[1:] if argv is None else argv, "reader")
        engine = choose(options)
        tls = tls_context(options)
    except ConfigError as err:
        print(f"reader: {err}", file=sys.stderr)  # noqa: T201 - there is no log yet
        return config.EXIT_USAGE
    logs.setup("reader", debug=options.debug, log_format=options.log_format)
    process.die_with_parent()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the server tells what changed
    allow_many_descriptors()
    return uvloop.run(_run(engine, options, tls))


async def _run(engine: Engine, options: config.Config, tls: ssl.SSLContext | None) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    me = _Report(engine)
    requests = RequestLog(AccessLog() if options.access_log else None)
    access = ToldAccess(public_prefixes(options))
    guest = Guest(engine, access, requests, options, me.begin, tls)
    of_s3 = s3_hosts(options)
    quick = QuickReads(guest, access, requests, options, lambda host: is_host_of_s3(host, of_s3))
    server = guest.server = make_own_server(
        Front(guest, quick, requests), options, requests, tls, quick.quick_answer
    )
    if requests.access is None:
        guest.ready = ReadyAnswers(quick, requests, server.known_heads, options.hot_bytes)
        server.answer_from(guest.ready)
    running = loop.create_task(guest.run())
    reporting = loop.create_task(me.keep())
    gc.freeze()
    ends = [loop.create_task(event.wait()) for event in (stopping, guest.misled)]
    await asyncio.wait([*ends, running, reporting], return_when=asyncio.FIRST_COMPLETED)
    for task in (running, reporting):
        if task.done():  # what was not expected: supervisord starts us anew
            task.result()
    if not await server.drain(options.drain_timeout_s):
        log.warning("some requests were not done in time and are cut off")
    await server.close_all_connections()
    running.cancel()
    reporting.cancel()
    await asyncio.gather(running, reporting, return_exceptions=True)
    await asyncio.to_thread(me.end)
    if requests.access is not None:
        requests.access.close()
    log.info("stopped")
    return EXIT_MISLED if guest.misled.is_set() else 0


class _Report:
    """What this process says of itself, once it has a name."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._me: SelfReport | None = None

    def begin(self, number: int) -> None:
        """We are reader `number`."""
        self.end()
        self._me = self_report.begin(self._engine.reports_dir, f"reader-{number}", _REPORT_EVERY_S)

    async def keep(self) -> None:
        """Until it is cancelled: have it there."""
        while True:
            await asyncio.sleep(_REPORT_EVERY_S)
            if self._me is not None:
                await asyncio.to_thread(self_report.keep, self._engine.reports_dir, self._me)

    def end(self) -> None:
        """We are told to stop, or are another reader now."""
        if self._me is not None:
            self._me.stopped = True
            self_report.write(self._engine.reports_dir, self._me)


if __name__ == "__main__":
    process.leave(main())
