"""The access file and the certificate: read at start and again on SIGHUP."""

from __future__ import annotations

import ipaddress
import logging
import resource
import socket
from collections.abc import Callable, Sequence

from common.errors import ConfigError
from common.options import Config
from services.access import file as access_file
from services.access.certificate import renew, tls_context
from services.access.decisions import Access
from services.access.hosts import HostNames

log = logging.getLogger("server")


class ServerCredentials:
    """`access` decides on every request; `tls` is None for plain HTTP. Raises ConfigError if one of the files
    cannot be used."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.tls = tls_context(config)
        rules = access_file.load_rules(config.auth_file) if config.auth_file else None
        self.access = Access(rules.clients if rules is not None else None, public_prefixes(config))
        self.access.link_key = rules.link_key if rules is not None else ""
        self.on_certificate: Callable[[], None] = lambda: None  # called when it was read again

    def reload(self) -> None:
        """SIGHUP: read both files again. A file that cannot be used changes nothing, and is logged."""
        config = self._config
        if config.auth_file:
            try:
                rules = access_file.load_rules(config.auth_file)
            except ConfigError as err:
                log.error("what was allowed before goes on, since the new rules cannot be used: %s", err)
            else:
                self.access.replace(rules.clients)
                self.access.link_key = rules.link_key
                log.info("auth_file read again: %d clients", len(rules.clients))
        if self.tls is not None:
            try:
                renew(self.tls, config)
            except (ConfigError, OSError) as err:  # ssl.SSLError is an OSError
                log.error("the old certificate goes on, since the new one cannot be used: %s", err)
            else:
                log.info("tls_cert and tls_key read again: new connections get them")
                self.on_certificate()

    def guard(self, sockets: Sequence[socket.socket]) -> None:
        """Set the host names that `access` allows, when it is known where the server listens."""
        is_local = not any(map(is_beyond_loopback, sockets))
        given = self._config.hosts
        self.access.hosts = HostNames(given, guards=bool(given) or (self.access.is_open and is_local))

    def warn(self, sockets: Sequence[socket.socket]) -> None:
        """Warn of what anyone could do who reaches these listening sockets from another machine."""
        beyond = [sock.getsockname()[:2] for sock in sockets if is_beyond_loopback(sock)]
        text = exposure(is_open=self.access.is_open, is_plain=self.tls is None) if beyond else None
        if text:
            log.warning("%s", text)


def public_prefixes(config: Config) -> list[str]:
    """What everybody may read: the prefixes in the option `public`."""
    return [prefix.strip() for prefix in config.public.split(",") if prefix.strip()]


def exposure(*, is_open: bool, is_plain: bool) -> str | None:
    """The warning if other machines can reach the server. None if clients and TLS are set up."""
    if is_open:
        return (
            "OPEN TO EVERYONE: whoever reaches this address may read, write and delete every blob. "
            "Set auth_file (see docs/access.md), or listen = 127.0.0.1:7777"
        )
    if is_plain:
        return (
            "tokens and passwords come in plain text: anyone on the way can read them. "
            "Set tls_cert and tls_key, or listen on 127.0.0.1 behind a proxy that speaks TLS"
        )
    return None


def is_beyond_loopback(sock: socket.socket) -> bool:
    """Whether other machines can connect to a listening socket, firewalls aside."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    address = ipaddress.ip_address(sock.getsockname()[0].partition("%")[0])
    return not (getattr(address, "ipv4_mapped", None) or address).is_loopback


def allow_many_descriptors() -> None:
    """Raise our limit on open files as far as the system allows: each connection needs one.

    Many systems start a process with 1,024, for programs that use select(), which we do not.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as err:  # some systems refuse an unlimited one
        log.warning("the limit on open files stays as it is: %s", err)
