"""Buckets and keys in request targets, and their locations. Pure.

A bucket is the first segment of a location, a key the rest, unchanged: empty segments, `.`, `..`, leading and
trailing slashes are part of a name here, and no location is ever part of a file name.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from common.config import Config
from services.frontends.s3.errors import S3Error
from services.rules.locations import RECORDS
from services.rules.text import CONTROL, BadEscape, decode_percent

# All buckets have one owner: the server. Clients compare the id with those in ACLs.
OWNER_ID = "blobkeep"
MAX_KEY_BYTES = 1024
_MOST_OF_A_SOURCE = 5000  # characters of a field that names an object: more is not decoded
# Records of a front end begin with NUL, as no native location does.
RECORD = RECORDS + "s3/"
BUCKET_RECORD = RECORD + "bucket/"

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# A path of plain characters alone, which stand for themselves: one look in place of a dozen calls.
_PLAIN_PATH = re.compile(r"/([a-z0-9][a-z0-9.-]{0,62})/([!&-;=@-Z_a-z~/]{1,1024})", re.ASCII)
_IP_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+", re.ASCII)


class S3Target(NamedTuple):
    """The target of a request: the service (both empty), a bucket (no key), or an object."""

    bucket: str = ""
    key: str = ""

    @property
    def location(self) -> str:
        """The location of the object."""
        return f"{self.bucket}/{self.key}"


def parse_target(path: str, bucket: str | None = None) -> S3Target:
    """The target that `path`, as in a request target, names. `bucket`: the one in the host name, if any.

    Percent-decoded once. Raises S3Error: InvalidURI, KeyTooLongError.
    """
    if bucket is None and (plain := _PLAIN_PATH.fullmatch(path)) is not None:
        return S3Target(plain[1], plain[2])
    rest = path[1:]
    if bucket is None:
        first, _, rest = rest.partition("/")
        bucket = decoded(first)
    key = decoded(rest)
    if not bucket and key:
        raise S3Error("InvalidBucketName", "The path has no bucket: name it before the key.")
    if CONTROL.search(bucket) or "/" in bucket:
        raise S3Error("InvalidBucketName", "The specified bucket is not valid.")
    check_key(key)
    return S3Target(bucket, key)


def check_key(key: str) -> None:
    """Raise S3Error if it cannot be a key. Control characters could forge lines in logs and terminals."""
    if len(key.encode("utf-8", "replace")) > MAX_KEY_BYTES:
        raise _key_too_long()
    if CONTROL.search(key):
        raise _unparsable()


def _key_too_long() -> S3Error:
    return S3Error("KeyTooLongError", f"Your key is too long: {MAX_KEY_BYTES:,} bytes of UTF-8 at most.")


def decoded(raw: str) -> str:
    """Percent-decoded UTF-8. Raises S3Error."""
    try:
        return decode_percent(raw)
    except (BadEscape, UnicodeError):
        raise _unparsable() from None


def _unparsable() -> S3Error:
    return S3Error("InvalidURI", "Couldn't parse the specified URI.")


def text_of(value: str) -> str:
    """The text of a decoded query value, one character a byte. Raises S3Error if it is not UTF-8."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        raise S3Error("InvalidArgument", "A parameter of the query is not UTF-8.") from None


def is_bucket_name(name: str) -> bool:
    """Whether a bucket of this name may be created: 3 to 63 of a-z 0-9 . - in the form of a host name."""
    return bool(_BUCKET.fullmatch(name)) and ".." not in name and not _IP_ADDRESS.fullmatch(name)


def s3_hosts(config: Config) -> tuple[str, ...]:
    """The host names that the configuration gives to S3, in lower case."""
    return tuple(name.strip().lower() for name in config.s3_hosts.split(",") if name.strip())


def is_host_of_s3(host: str | None, hosts: tuple[str, ...]) -> bool:
    """Whether every request under this name is for S3, whatever its path. `hosts`: see `s3_hosts`."""
    if not hosts or not host:
        return False
    return (_known if len(host) <= _NAME_CHARS else _bucket_of_host)(host, hosts)[0]


def bucket_of_host(host: str, hosts: tuple[str, ...]) -> tuple[bool, str | None]:
    """See `_bucket_of_host`; remembered for names that are not longer than real ones."""
    return (_known if len(host) <= _NAME_CHARS else _bucket_of_host)(host, hosts)


def _bucket_of_host(host: str, hosts: tuple[str, ...]) -> tuple[bool, str | None]:
    """Whether `host` (a Host field) is one of `hosts`, and the bucket in front of it, if any."""
    name = host.lower()
    if not name.endswith("]"):
        head, colon, port = name.rpartition(":")
        name = head if colon and port.isdigit() else name
    for ours in hosts:
        if name == ours:
            return True, None
        if name.endswith("." + ours):
            return True, name.removesuffix("." + ours)
    return False, None


_known = lru_cache(256)(_bucket_of_host)
_NAME_CHARS = 260  # a name of DNS, and a port


def parse_copy_source(header: str) -> S3Target:
    """The object that x-amz-copy-source names: `bucket/key` or `/bucket/key`, percent-encoded. Some clients
    encode the slashes, too.

    Raises S3Error, also for a version that cannot exist.
    """
    path, _, query = header.partition("?")
    if query and query != "versionId=null":
        raise S3Error("NoSuchVersion", "There are no versions here: name the object alone.")
    if len(path) > _MOST_OF_A_SOURCE:
        raise _key_too_long()
    bucket, _, key = decoded(path).removeprefix("/").partition("/")
    if not bucket or not key:
        raise S3Error("InvalidArgument", "The copy source is not bucket/key.")
    if CONTROL.search(bucket):
        raise S3Error("InvalidBucketName", "The specified bucket is not valid.")
    check_key(key)
    return S3Target(bucket, key)
