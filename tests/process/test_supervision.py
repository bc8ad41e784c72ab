"""supervisord with our plugin: connections are never refused, dead processes are restarted, and nothing is
left behind. It is a real supervisord on a configuration of its own. Small programs stand in for ours, except
in the last tests.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from supervisor import events
from supervisor.datatypes import RestartUnconditionally
from supervisor.options import ServerOptions
from supervisor.process import Subprocess
from supervisor.states import ProcessStates

from common.config import Config
from common.options import OPTIONS
from services import kept_socket, supervision
from tests.support.environment import ROOT, environment
from tests.support.processes import wait_for

CONF = """
[supervisord]
nodaemon=true
logfile=/dev/null
logfile_maxbytes=0
pidfile={run}/pid
[fcgi-program:server]
socket=unix://{run}/placeholder.sock
command=python3 {run}/server.py
directory={root}
stopwaitsecs=15
autorestart=true
startretries=1000000
stdout_logfile=/dev/stdout
stdout_logfile_maxbytes=0
stderr_logfile=/dev/stderr
stderr_logfile_maxbytes=0
[rpcinterface:blobkeep]
supervisor.rpcinterface_factory=services.supervision:make_plugin
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[unix_http_server]
file={run}/sock
chmod=0700
[supervisorctl]
serverurl=unix://{run}/sock
"""
SERVER = """
import os, socket, sys
from common.process import die_with_parent
die_with_parent()
print("started on", sys.executable, flush=True)
listening = socket.socket(fileno=os.dup(0))
while True:
    connection, _ = listening.accept()
    connection.recv(1)
    connection.sendall(b"%d" % os.getpid())
    connection.close()
"""


class Supervisord:
    """A supervisord of the test's own, on a free port of 127.0.0.1."""

    def __init__(self, run: Path, conf: str = CONF) -> None:
        self.run = run
        self.conf = run / "supervisord.conf"
        self.conf.write_text(conf.format(run=run, root=ROOT))
        (run / "server.py").write_text(SERVER)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        self.environment = environment(
            BLOBKEEP_LISTEN=f"127.0.0.1:{self.port}", BLOBKEEP_DIR=str(run / "data")
        )
        self.log = run / "log"
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """Start it; its log, and that of its programs, is appended to the file `log`."""
        with self.log.open("wb" if not self.log.exists() else "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.conf)],
                cwd=self.run,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self.process

    def ctl(self, *command: str) -> str:
        """What supervisorctl answers."""
        done = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(self.conf), *command],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.stdout

    def pid_of(self, program: str) -> int:
        """The pid of a program, once it runs."""

        def running() -> int:
            answer = self.ctl("pid", program).strip()
            return int(answer) if answer.isdigit() else 0

        return wait_for(running)

    def connect(self) -> socket.socket:
        """A connection. Raises ConnectionRefusedError."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=120)

    def ask(self) -> int:
        """Connect, and ask the stand-in for its pid."""
        with self.connect() as connection:
            return answer(connection)

    def end(self) -> None:
        """Stop it and its programs, with SIGKILL if they do not end."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(timeout=40)
        finally:
            self.process.kill()


def answer(connection: socket.socket) -> int:
    """Send the stand-in its request on an open connection; returns the pid that it answers with."""
    connection.sendall(b"?")
    return int(connection.recv(100))


def is_gone(pid: int) -> bool:
    """True if no process has that pid, or only one that is dead and not yet reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] in b"ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisord]:
    """A supervisord that runs for several tests, which leave it running."""
    yield from _up(tmp_path_factory.mktemp("lasting"))


@pytest.fixture
def supervisord(tmp_path: Path) -> Iterator[Supervisord]:
    """A supervisord that runs, and whose stand-in answers."""
    yield from _up(tmp_path)


def _up(run: Path) -> Iterator[Supervisord]:
    made = Supervisord(run)
    try:
        wait_for(lambda: _answers(made))
        yield made
    finally:
        made.end()


def _answers(supervisord: Supervisord) -> bool:
    assert supervisord.process.poll() is None, supervisord.log.read_text()
    try:
        return supervisord.ask() > 0
    except ConnectionError:  # refused; or reset by a supervisord that closes its socket to reload
        return False


def test_who_connects_while_the_server_is_dead_is_answered_by_its_successor(lasting: Supervisord) -> None:
    dead = set()
    for _ in range(2):
        pid = lasting.ask()
        assert pid not in dead
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda killed=pid: is_gone(killed))  # type: ignore[misc]
        dead.add(pid)
        with lasting.connect() as first, lasting.connect() as second:
            answers = {answer(first), answer(second)}
        assert len(answers) == 1
        assert not answers & dead


def test_who_connects_while_the_server_is_stopped_or_restarted_is_answered(lasting: Supervisord) -> None:
    lasting.ctl("stop", "server")
    with lasting.connect() as connection:
        lasting.ctl("start", "server")
        assert answer(connection) > 0
    lasting.ctl("signal", "HUP", "server")  # which makes the stand-in die with an error
    assert lasting.ask() > 0


def test_a_program_that_ends_without_an_error_is_started_again(tmp_path: Path) -> None:
    once = """
[program:once]
command=python3 -c "open('{run}/ran', 'a').write('x')"
autorestart=true
startretries=1000000
"""
    supervisord = Supervisord(tmp_path, CONF + once)
    try:
        wait_for(lambda: (tmp_path / "ran").exists() and len((tmp_path / "ran").read_text()) >= 2)
    finally:
        supervisord.end()


def test_a_program_that_dies_at_once_is_never_given_up_and_never_waits_long(tmp_path: Path) -> None:
    config = SimpleNamespace(name="x", startsecs=1)
    process = Subprocess(config)
    events.subscribe(events.ProcessStateBackoffEvent, supervision._shorten_backoff)
    try:
        for _ in range(50):
            process.change_state(ProcessStates.STARTING)
            process.change_state(ProcessStates.BACKOFF)
            assert process.backoff <= supervision.LONGEST_BACKOFF_S
            assert process.delay <= time.time() + supervision.LONGEST_BACKOFF_S
    finally:
        events.unsubscribe(events.ProcessStateBackoffEvent, supervision._shorten_backoff)


def test_programs_run_on_the_python_of_supervisord_and_log_to_its_output(lasting: Supervisord) -> None:
    line = f"started on {sys.prefix}/bin/python"  # or python3: one interpreter
    wait_for(lambda: line in lasting.log.read_text())  # it goes through a pipe


def test_a_killed_supervisord_leaves_nobody_behind_and_the_next_one_serves(
    supervisord: Supervisord,
) -> None:
    orphan = supervisord.ask()
    supervisord.process.kill()
    supervisord.process.wait(timeout=120)
    supervisord.start()
    wait_for(lambda: is_gone(orphan))
    wait_for(lambda: _answers(supervisord))


def test_supervisord_waits_for_a_port_that_its_predecessor_still_holds(tmp_path: Path) -> None:
    supervisord = Supervisord(tmp_path)
    try:
        wait_for(lambda: _answers(supervisord))
        supervisord.end()
        with socket.create_server(("127.0.0.1", supervisord.port)):
            supervisord.start()
            wait_for(lambda: "is in use: waiting" in supervisord.log.read_text())
        assert wait_for(lambda: _answers(supervisord))
    finally:
        supervisord.end()


def test_a_supervisord_that_is_told_to_stop_frees_the_port(supervisord: Supervisord) -> None:
    pid = supervisord.ask()
    supervisord.end()
    assert supervisord.process.returncode == 0
    assert is_gone(pid)
    with pytest.raises(ConnectionRefusedError):
        supervisord.connect()


def test_a_reload_of_supervisord_serves_again(supervisord: Supervisord) -> None:
    before = supervisord.ask()
    supervisord.process.send_signal(signal.SIGHUP)
    wait_for(lambda: is_gone(before))
    wait_for(lambda: _answers(supervisord))
    assert supervisord.ask() != before


def test_an_option_that_is_wrong_ends_supervisord_and_is_named(tmp_path: Path) -> None:
    supervisord = Supervisord(tmp_path)
    supervisord.end()
    supervisord.environment["BLOBKEEP_LISTEN"] = "nowhere"
    assert supervisord.start().wait(timeout=120) == 2
    assert "listen: 'nowhere' is not HOST:PORT" in supervisord.log.read_text()


def test_output_into_a_socket_reaches_its_reader(tmp_path: Path) -> None:
    """systemd's journal is a socket, and then /dev/stdout cannot be opened."""
    supervisord = Supervisord(tmp_path)
    supervisord.end()
    reading, writing = socket.socketpair()
    with reading, writing:
        supervisord.process = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(supervisord.conf)],
            cwd=tmp_path,
            env=supervisord.environment,
            stdout=writing.fileno(),
            stderr=writing.fileno(),
        )
        writing.close()
        try:
            wait_for(lambda: _answers(supervisord))
        finally:
            supervisord.end()
        reading.settimeout(120)
        text = b"".join(iter(lambda: reading.recv(65536), b""))
    assert b"started on" in text
    assert b"spawned: 'server'" in text


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("localhost", ["127.0.0.1"]),
        ("::1", ["::1"]),
        ("", ["127.0.0.1", "::1"]),
    ],
)
def test_an_address_is_bound_where_it_says(host: str, reached: list[str]) -> None:
    if not socket.has_dualstack_ipv6():
        reached = [address for address in reached if ":" not in address]
        if not reached:
            pytest.skip("no IPv6 here")
    with kept_socket.bind(host, 0) as listening:
        for address in reached:
            with socket.create_connection((address, listening.getsockname()[1]), timeout=120):
                pass


def test_an_address_that_is_taken_is_an_error() -> None:
    with kept_socket.bind("127.0.0.1", 0) as listening, pytest.raises(OSError, match="in use") as caught:
        kept_socket.bind("127.0.0.1", listening.getsockname()[1])
    assert caught.value.errno == errno.EADDRINUSE


@pytest.fixture
def shipped() -> Any:
    """supervisord.conf, as supervisord reads it."""
    options = ServerOptions()
    options.realize(["-c", str(ROOT / "supervisord.conf")])
    return options


def test_the_shipped_configuration_restarts_for_ever_and_outlasts_the_drain(shipped: Any) -> None:
    programs = {p.name: p for group in shipped.process_group_configs for p in group.process_configs}
    readers = {f"reader-{number}" for number in range(max(OPTIONS["readers"].choices))}
    assert set(programs) == {"server", "gc", "recovery"} | readers
    for name, program in programs.items():
        assert program.command == f"python3 -m services.{name.partition('-')[0]}"
        assert program.autorestart is RestartUnconditionally
        assert program.startretries > supervision.LONGEST_BACKOFF_S
        assert program.startsecs >= 1  # with 0, what dies at once would be restarted without a pause
        assert program.stopsignal == signal.SIGTERM
        assert program.stopwaitsecs > Config().drain_timeout_s + 2
        assert program.stopasgroup
        assert program.killasgroup
        assert program.directory == str(ROOT)
        assert (program.stderr_logfile, program.stderr_logfile_maxbytes) == ("/dev/stderr", 0)
        assert (program.stdout_logfile, program.stdout_logfile_maxbytes) == ("/dev/stdout", 0)


def test_the_shipped_configuration_is_controlled_by_its_owner_alone(shipped: Any) -> None:
    (control,) = shipped.server_configs
    assert control["file"] == str(ROOT / "run" / "supervisor.sock")
    assert control["chmod"] == 0o700
    assert shipped.nodaemon
