"""A plugin in supervisord: it holds the listening socket, and restarts programs without end.

supervisord 4.3.0 can bind a socket for its child (an fcgi-program), but closes it while the child is dead,
and gives a program up after some quick deaths. With this plugin, named in supervisord.conf:
- the socket is bound where the option `listen` says, and stays open as long as supervisord lives. A client
  that connects while the server is dead or draining is answered by its successor, and never refused;
- a program that dies at once is started again, after 3 s at most, however often it dies;
- children know the pid of supervisord, run on the Python that it runs on, and can log to its stdout and
  stderr whatever those are;
- there are as many readers as the option `readers` says;
- a reader of that output that hangs stops neither supervisord nor its programs (services/log_relay.py). A
  supervisord that is blocked would restart nothing.

It runs in supervisord's own process: after the start an exception here would end supervisord.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import os
import socket
import stat
import subprocess
import sys
import time
from typing import Any

from supervisor import events

from common import config
from common.errors import ConfigError
from common.process import SUPERVISOR_PID
from services import supervisord_lines

READERS = "reader"  # the program of which there are as many as the option `readers` says
LONGEST_BACKOFF_S = 3
# A killed supervisord leaves a server that drains, and then frees the port. We wait for that.
PATIENCE_S = 20.0
_RETRY_S = 0.1
_BACKLOG = 65535  # the kernel's own limit, net.core.somaxconn, is less
_PLUGIN = "blobkeep_plugin"
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_LAST_WORDS_S = 3.0  # more than the relay gives two readers that hang

_relay: subprocess.Popen[bytes] | None = None


def _log_format() -> str:
    try:
        return config.load([], "server").log_format
    except ConfigError:  # make_plugin tells
        return "text"


# At the import, which is when supervisord reads its configuration: it writes lines before `make_plugin`.
supervisord_lines.adopt(_log_format())


def make_plugin(supervisord: Any) -> Plugin:
    """supervisord calls it when it has its programs and before it starts them.

    Raises ConfigError for a wrong option, OSError if the address cannot be bound: supervisord then ends.
    """
    plugin = getattr(supervisord, _PLUGIN, None)  # it asks once for each of its control sockets
    if plugin is None:
        plugin = Plugin(supervisord, config.load([], "server"))
        setattr(supervisord, _PLUGIN, plugin)
    return plugin


class Plugin:
    """Lives as long as supervisord. It has no public method: those would be callable over its socket."""

    def __init__(self, supervisord: Any, options: config.Config) -> None:
        self._supervisord = supervisord
        self._readers = config.reader_count(options, is_supervised=True)
        os.environ[SUPERVISOR_PID] = str(os.getpid())
        os.environ["PATH"] = f"{os.path.dirname(sys.executable)}:{os.environ.get('PATH', os.defpath)}"
        _let_children_log()
        self._socket = KeptSocket(options.listen, supervisord.options.logger)
        for name in supervisord.process_groups:
            self._adapt(name)
        events.subscribe(events.ProcessGroupAddedEvent, lambda event: self._adapt(event.group))
        events.subscribe(events.ProcessStateBackoffEvent, _shorten_backoff)
        # At a reload, supervisord closes all descriptors that it does not know, and calls make_plugin anew.
        events.subscribe(events.SupervisorStoppingEvent, lambda event: self._socket.close())

    def _adapt(self, group_name: str) -> None:
        """Make a group of fcgi-programs use our socket in place of the one in its configuration, and leave as
        many readers as the options say."""
        group = self._supervisord.process_groups[group_name]
        if group_name == READERS:
            for name in list(group.processes)[self._readers :]:
                del group.processes[name]
        manager = getattr(group, "socket_manager", None)
        if manager is not None:
            manager.socket_config = self._socket


class KeptSocket:
    """A listening socket in the shape of supervisor's SocketConfig: each `create_and_bind` is a duplicate."""

    def __init__(self, listen: str, logger: Any) -> None:
        self.url = f"tcp://{listen}"
        self._kept = _bind_patiently(listen, logger)

    def __str__(self) -> str:
        return self.url

    def get_backlog(self) -> None:
        """None: supervisor's default, the longest that the kernel allows."""
        return

    def create_and_bind(self) -> socket.socket:
        """A descriptor of its own for the caller, who closes it. Of no use after `close`."""
        return self._kept.dup()

    def close(self) -> None:
        """Let go: once the last duplicate is closed, connections are refused."""
        self._kept.close()


def _bind_patiently(listen: str, logger: Any) -> socket.socket:
    """Listen on HOST:PORT, waiting for the address to become free. Raises OSError."""
    host, port = config.host_and_port(listen)
    deadline = time.monotonic() + PATIENCE_S
    told = False
    while True:
        try:
            return bind(host, port)
        except OSError as err:
            if err.errno != errno.EADDRINUSE or time.monotonic() >= deadline:
                logger.critical(f"cannot listen on {listen}: {err.strerror}")
                raise
        if not told:
            logger.warn(f"{listen} is in use: waiting up to {PATIENCE_S:g} s for it")
            told = True
        time.sleep(_RETRY_S)


def bind(host: str, port: int) -> socket.socket:
    """A TCP socket that listens on `host`; no host is every address, IPv6 included. Raises OSError.

    A name with several addresses means one of them, of IPv4 if there is one.
    """
    if not host and socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True)
    found = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM)
    family, *_, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _let_children_log() -> None:
    """Make supervisord's output work for all kinds of stdout and stderr, without waiting for a reader.

    supervisord opens /dev/stdout and /dev/stderr again for each program, and writes there itself. A pipe, a
    terminal and a socket (systemd's journal) get a relay. A file that is not open for appending would be
    overwritten from its beginning.
    """
    global _relay
    if _relay is not None:
        return
    pipes: dict[int, tuple[int, int]] = {}
    for descriptor in (1, 2):
        if _may_stall(descriptor):
            pipes[descriptor] = os.pipe()
        else:
            flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
            fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_APPEND)
    if not pipes:
        return
    sources = {descriptor: reading for descriptor, (reading, _) in pipes.items()}
    _relay = subprocess.Popen(
        [
            *(sys.executable, "-S", "-m", "services.log_relay", _log_format()),
            *(f"{source}:{descriptor}" for descriptor, source in sources.items()),
        ],
        cwd=_ROOT,
        stdin=subprocess.DEVNULL,
        pass_fds=list(sources.values()),
        start_new_session=True,  # Ctrl-C is for supervisord, whose last words are still to come
    )
    for descriptor, (reading, writing) in pipes.items():
        os.dup2(writing, descriptor)
        os.close(reading)
        os.close(writing)
    atexit.register(_last_words, _relay)


def _may_stall(descriptor: int) -> bool:
    """Whether a write may wait for a reader, or supervisord cannot open it again."""
    try:
        os.close(os.open(f"/dev/fd/{descriptor}", os.O_WRONLY | os.O_APPEND | os.O_NOCTTY))
    except OSError:
        return True
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(descriptor)


def _last_words(relay: subprocess.Popen[bytes]) -> None:
    """At exit: wait a little until all is written. In a container nothing outlives its first process."""
    relay.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        relay.wait(_LAST_WORDS_S)


def _shorten_backoff(event: Any) -> None:
    """supervisord waits one second longer after each quick death, and gives up after `startretries`."""
    process = event.process
    if process.backoff > LONGEST_BACKOFF_S:
        process.backoff = LONGEST_BACKOFF_S
        process.delay = time.time() + LONGEST_BACKOFF_S
