"""Who may do what: every request but /healthz passes this check before anything else happens.

It decides from an action and a location, so it knows no paths or methods of front ends: each front end says
what its request means. Pure except for the thread that checks passwords. The clients are those of the access
file.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import TypeVar

import msgspec

from common.errors import Busy, Forbidden, Unauthorized
from services.access.hosts import HostNames
from services.access.secret_hash import NoSecret, SecretHash
from services.rules.credentials import Credentials, parse_authorization

T = TypeVar("T")

_MAX_REMEMBERED = 1024  # headers that were checked; far more than there are clients
_MAX_CHECKING = 32  # passwords that wait for the thread: some 6 s of it

_NOBODY = "Say who you are: send a token (Authorization: Bearer ...) or a user and password (Basic)."
_WRONG = "This token, or user and password, is unknown here: check it, or ask for a new one."


class Role(StrEnum):
    """What a client may do. All may read."""

    READ_ONLY = "read-only"
    APPEND_ONLY = "append-only"  # create, but neither update nor delete
    READ_WRITE = "read-write"


class Action(StrEnum):
    """What a request does to a location, or to the server if it names none."""

    READ = "read"  # a blob, or a list of the blobs below a prefix
    CREATE = "create"  # a blob where none is; a front end asks for UPDATE where it finds one
    UPDATE = "update"  # replace what is there
    DELETE = "delete"


_OF_ROLE = {
    Role.READ_ONLY: frozenset({Action.READ}),
    Role.APPEND_ONLY: frozenset({Action.READ, Action.CREATE}),
    Role.READ_WRITE: frozenset(Action),
}


class Client(msgspec.Struct, frozen=True):
    """One entry of the access file. `prefix`: if not empty, all its locations start with it.

    `s3_secret`: what it signs requests of S3 with; its name is the access key id. Empty: it may not use S3.
    """

    name: str
    role: Role
    prefix: str
    hash: SecretHash
    s3_secret: str = ""

    def check(self, action: Action, location: str | None) -> None:
        """Raise Forbidden if the client may not do this; its text says why.

        `location`: of a blob, or the prefix of a list. None: the request concerns the whole server.
        """
        refusal = self._refusal(action, location)
        if refusal is not None:
            raise Forbidden(refusal)

    def may(self, action: Action, location: str | None) -> bool:
        """Whether `check` would let it pass."""
        return self._refusal(action, location) is None

    def _refusal(self, action: Action, location: str | None) -> str | None:
        """Check a request without a location, which shows or changes the whole server: a client with a prefix
        may not make it, and only read-write clients may do more than read."""
        if action not in _OF_ROLE[self.role] or (location is None and action is Action.CREATE):
            if self.role is Role.READ_ONLY:
                return f"{self.name} may read, but not write: use the token of one who may."
            if self.role is Role.APPEND_ONLY:
                return f"{self.name} may create blobs, but neither update nor delete: use another token."
        if self.prefix and (location is None or not location.startswith(self.prefix)):
            return f"{self.name} may only use what is under {self.prefix}, and list it (?prefix=)."
        return None

    def sees(self, folder: str) -> bool:
        """Whether it may read something whose location starts with `folder`, or all of that."""
        return folder.startswith(self.prefix) or self.prefix.startswith(folder)


class Everybody(Client, frozen=True):
    """A client without credentials. It may read what is under one of the prefixes `public`."""

    public: tuple[str, ...] = ()

    def _refusal(self, action: Action, location: str | None) -> str | None:
        """See Client."""
        if action is Action.READ and location is not None and location.startswith(self.public):
            return None
        return _NOBODY

    def sees(self, folder: str) -> bool:
        """See Client."""
        return any(folder.startswith(prefix) or prefix.startswith(folder) for prefix in self.public)


class Access:
    """Used only on the event loop. With `clients` None everyone may do everything.

    A right header is remembered by a keyed digest, so that the next request costs a microsecond and its time
    tells nothing. A wrong password is remembered as well, since to check it costs a thread.
    """

    def __init__(self, clients: Sequence[Client] | None = None, public: Sequence[str] = ()) -> None:
        self.hosts = HostNames()  # under which names; who knows the listening sockets sets it
        self.everybody: Everybody | None = None
        if public:
            self.everybody = Everybody("-", Role.READ_ONLY, "", NoSecret(), public=tuple(public))
        self.link_key = ""  # of signed links; empty: there are none
        self.on_replaced: list[Callable[[], None]] = []  # to end what was allowed once and goes on for ever
        self._thread = ThreadPoolExecutor(1, "passwords")  # one: guesses must not take all cores
        self.replace(clients)

    def replace(self, clients: Sequence[Client] | None) -> None:
        """From now on these clients are known, each with its rights. Forgets all that was checked."""
        self.is_open = clients is None
        self._clients = {client.name: client for client in clients or ()}
        self._key = os.urandom(32)
        self._right: dict[bytes, Client] = {}
        self._wrong: dict[bytes, None] = {}
        self._checking: dict[bytes, asyncio.Future[bool]] = {}
        for tell in self.on_replaced:
            tell()

    def close(self) -> None:
        """The server stops: passwords that wait are not checked any more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def permits(self, action: Action, location: str, authorization: str | None) -> bool:
        """Whether a request for the blob at `location` may be answered at once. Cheap and synchronous.

        For code that answers without a RequestHandler. If False, pass the request to the Application, whose
        handlers check again: they check a password in a thread, and refuse with a reason.
        `location`: percent-decoded, as parse_location gives it.
        """
        if self.is_open:
            return True
        client = self._right.get(self._digest(authorization)) if authorization else self.everybody
        return client is not None and client.may(action, location)

    def name_of(self, authorization: str | None) -> str:
        """The name of the client that sent this header, if it is known already: for the log."""
        client = self._right.get(self._digest(authorization)) if authorization else None
        return "-" if client is None else client.name

    def remember(self, authorization: str, client: Client) -> None:
        """Remember that this header is that client's, until `replace` is called."""
        _remember(self._right, self._digest(authorization), client)

    def client_of_key(self, access_key: str) -> tuple[Client, str] | None:
        """The client with this access key id of S3, and the secret that it signs with; None: there is none.

        The caller must compare the signature, and then check the rights.
        """
        client = self._clients.get(access_key)
        return None if client is None or not client.s3_secret else (client, client.s3_secret)

    def unnamed(self, action: Action, location: str | None) -> Client:
        """The client for a request without credentials. Raises Unauthorized if it may not do this."""
        if self.everybody is None or not self.everybody.may(action, location):
            raise Unauthorized(_NOBODY)
        return self.everybody

    async def identify(self, authorization: str | None) -> Client:
        """The client whose secret an Authorization header has. Raises Unauthorized, Busy."""
        if not authorization:
            raise Unauthorized(_NOBODY)
        digest = self._digest(authorization)
        client = self._right.get(digest)
        if client is not None:
            return client
        credentials = parse_authorization(authorization)
        if credentials is None or digest in self._wrong:
            raise Unauthorized(_WRONG)
        right = self._right
        client = self._by_token(credentials) or await self._by_password(credentials, digest)
        _remember(right, digest, client)  # in vain where `replace` was called meanwhile
        return client

    def _by_token(self, credentials: Credentials) -> Client | None:
        """The client with this token, sent as a bearer token, or as the password of the client's name."""
        found = None
        for client in self._clients.values():  # all of them, whichever matches: equal time
            named = credentials.user in (None, client.name)
            if not client.hash.slow and client.hash.matches(credentials.secret) and named:
                found = client
        return found

    async def _by_password(self, credentials: Credentials, digest: bytes) -> Client:
        slow = {name: client for name, client in self._clients.items() if client.hash.slow}
        if credentials.user is None or not slow:
            raise Unauthorized(_WRONG)
        client = slow.get(credentials.user)
        # A user who does not exist takes as long as one who does, so that nobody can try names.
        tried = client or next(iter(slow.values()))
        wrong, checking = self._wrong, self._checking
        check = checking.get(digest)
        if check is None:
            if len(checking) >= _MAX_CHECKING:
                raise Busy("Many passwords are being checked: try again in a moment.")
            loop = asyncio.get_running_loop()
            check = checking[digest] = loop.run_in_executor(
                self._thread, tried.hash.matches, credentials.secret
            )
            check.add_done_callback(lambda _: checking.pop(digest))
        try:
            right = await asyncio.shield(check)
        except asyncio.CancelledError:
            if check.cancelled():
                raise Busy("The server is stopping: try again in a moment.") from None
            raise
        if right and client is not None:
            return client
        _remember(wrong, digest, None)
        raise Unauthorized(_WRONG)

    def _digest(self, authorization: str) -> bytes:
        data = authorization.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(data, key=self._key, digest_size=16).digest()


def _remember(known: dict[bytes, T], digest: bytes, value: T) -> None:
    known[digest] = value
    if len(known) > _MAX_REMEMBERED:
        del known[next(iter(known))]
