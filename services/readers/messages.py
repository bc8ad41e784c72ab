"""The messages between a reader process and the server, in msgpack, over a unix socket of the server."""

from __future__ import annotations

import msgspec

from common.config import Config
from services.http1 import Handed
from services.watch.request_log import Tally


class Here(msgspec.Struct, frozen=True, tag=True):
    """The reader's first message. `number`: the one that it had with an earlier server; None: none yet."""

    number: int | None


class Ask(msgspec.Struct, frozen=True, tag=True):
    """Asks the server to show the blob at `location`, and whose Authorization header this is."""

    number: int
    location: str
    authorization: str | None


class Over(msgspec.Struct, frozen=True, tag=True):
    """A connection for the server to go on with, with its descriptor."""

    handed: Handed


class Counts(msgspec.Struct, frozen=True, tag=True):
    """What the reader has answered since its last report, by method, and what its connections refused."""

    tallies: dict[str, Tally]
    refusals: dict[int, int]


class Hello(msgspec.Struct, frozen=True, tag=True):
    """The server's first message, with the descriptors that the engine shares (`shared` of them), and the
    listening sockets.

    `number`: which reader it is. `is_open`: everybody may do everything. `guards`: see HostNames.
    `answers_by`: the options that answers depend on; a reader with other ones cannot be used.
    """

    number: int
    epoch: int
    shared: int
    is_open: bool
    guards: bool
    answers_by: list[str]


class KnownClient(msgspec.Struct, frozen=True):
    """A client of the access file, without its secrets."""

    name: str
    role: str
    prefix: str


class Told(msgspec.Struct, frozen=True, tag=True):
    """The answer to Ask `number`. `shown`: the blob is in the table. `client`: whose header it is, or None.

    `rights`: what Sharing.rights was before anybody looked.
    """

    number: int
    shown: bool
    client: KnownClient | None
    rights: int


class Renew(msgspec.Struct, frozen=True, tag=True):
    """The certificate was read again: read it, too."""


def answers_by(config: Config) -> list[str]:
    """The options that readers' answers depend on. Limits on clients may differ."""
    said = (
        *(config.hosts, config.public, config.cors_origins, config.s3_hosts, config.expire_s),
        *(config.tls_cert, config.tls_key),
    )
    return [str(value) for value in said]


encode = msgspec.msgpack.Encoder().encode
decode_of_reader = msgspec.msgpack.Decoder(Here | Ask | Over | Counts).decode
decode_of_server = msgspec.msgpack.Decoder(Hello | Told | Renew).decode
