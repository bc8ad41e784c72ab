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

import os
import sys
import time
from typing import Any

from supervisor import events

from common import config
from common.errors import ConfigError
from common.process import SUPERVISOR_PID
from services import supervisord_lines
from services.kept_socket import KeptSocket
from services.supervisord_output import let_children_log

READERS = "reader"  # the program of which there are as many as the option `readers` says
LONGEST_BACKOFF_S = 3
_PLUGIN = "blobkeep_plugin"


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
        let_children_log(options.log_format)
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


def _shorten_backoff(event: Any) -> None:
    """supervisord waits one second longer after each quick death, and gives up after `startretries`."""
    process = event.process
    if process.backoff > LONGEST_BACKOFF_S:
        process.backoff = LONGEST_BACKOFF_S
        process.delay = time.time() + LONGEST_BACKOFF_S
