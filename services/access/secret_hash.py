"""Hashes of tokens and passwords, which the access file has in place of secrets. Pure.

A token is random and long, so one round of SHA-256 protects it. A password is neither: scrypt makes each
guess cost about 0.2 s and 16 MiB.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from typing import Protocol

import msgspec

# OWASP's password storage cheat sheet: N = 2^14, r = 8, p = 5 is one of the equally strong choices, and the
# one of least memory that scrypt is recommended with.
LOG_N = 14
BLOCK = 8
ROUNDS = 5
_SALT_BYTES = 16
_KEY_BYTES = 32
# The file's owner wrote these numbers, but a typing error must not take the machine's memory.
_MAX_MEMORY_BYTES = 128 << 20

_SHA256 = re.compile(r"sha256:([0-9a-f]{64})")
_SCRYPT = re.compile(
    r"scrypt:([1-9]\d?):([1-9]\d?):([1-9]\d?):([A-Za-z0-9+/]{22,}={0,2}):([A-Za-z0-9+/]{43}=)", re.ASCII
)


class SecretHash(Protocol):
    """The hash of one secret."""

    @property
    def slow(self) -> bool:
        """Whether `matches` takes too long for the event loop."""
        ...

    def matches(self, secret: str) -> bool:
        """Whether `secret` is the one, in a time that does not depend on how much of it is right."""
        ...


class TokenHash(msgspec.Struct, frozen=True):
    """SHA-256 of a generated token. Text: `sha256:` and 64 hex digits."""

    digest: bytes
    slow: bool = False

    def matches(self, secret: str) -> bool:
        """See SecretHash."""
        return hmac.compare_digest(hashlib.sha256(secret.encode()).digest(), self.digest)

    def __str__(self) -> str:
        return f"sha256:{self.digest.hex()}"


class PasswordHash(msgspec.Struct, frozen=True):
    """scrypt of a password (RFC 7914). Text: `scrypt:LOG2_N:R:P:SALT:KEY`, the last two in base64."""

    log_n: int
    block: int
    rounds: int
    salt: bytes
    key: bytes
    slow: bool = True

    def matches(self, secret: str) -> bool:
        """See SecretHash. Lets other threads run meanwhile."""
        return hmac.compare_digest(_scrypt(secret, self.salt, self.log_n, self.block, self.rounds), self.key)

    def __str__(self) -> str:
        salt, key = (base64.b64encode(part).decode() for part in (self.salt, self.key))
        return f"scrypt:{self.log_n}:{self.block}:{self.rounds}:{salt}:{key}"


class NoSecret(msgspec.Struct, frozen=True):
    """For a client without token or password, which signs its requests. Text: empty."""

    slow: bool = False

    def matches(self, secret: str) -> bool:
        """See SecretHash: never."""
        return False

    def __str__(self) -> str:
        return ""


def hash_token(token: str) -> TokenHash:
    """The hash of a generated token. It does not protect a password that a person made up."""
    return TokenHash(hashlib.sha256(token.encode()).digest())


def hash_password(password: str, *, log_n: int = LOG_N, rounds: int = ROUNDS) -> PasswordHash:
    """The hash of a password, with a salt of its own."""
    salt = os.urandom(_SALT_BYTES)
    return PasswordHash(log_n, BLOCK, rounds, salt, _scrypt(password, salt, log_n, BLOCK, rounds))


def parse_hash(text: str) -> SecretHash:
    """The hash that `text` writes, as `str(hash)` does. Raises ValueError."""
    if found := _SHA256.fullmatch(text):
        return TokenHash(bytes.fromhex(found[1]))
    found = _SCRYPT.fullmatch(text)
    if found is None:
        raise ValueError("neither sha256:... nor scrypt:...")
    log_n, block, rounds = (int(found[n]) for n in (1, 2, 3))
    if (128 * block << log_n) > _MAX_MEMORY_BYTES:
        raise ValueError(f"it would need more than {_MAX_MEMORY_BYTES >> 20} MiB to check")
    salt, key = (base64.b64decode(found[n], validate=True) for n in (4, 5))
    return PasswordHash(log_n, block, rounds, salt, key)


def _scrypt(password: str, salt: bytes, log_n: int, block: int, rounds: int) -> bytes:
    return hashlib.scrypt(
        password.encode(),
        salt=salt,
        n=1 << log_n,
        r=block,
        p=rounds,
        maxmem=2 * _MAX_MEMORY_BYTES,
        dklen=_KEY_BYTES,
    )
