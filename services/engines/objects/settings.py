"""Where the bucket is, and who may use it: options of this engine, and credentials, which are none."""

from __future__ import annotations

import configparser
import os
import stat
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from common.errors import ConfigError
from services.engines.objects import keys


class StoreCredentials(NamedTuple):
    """Never logged: `repr` shows nothing of them."""

    access_key: str
    secret_key: str
    token: str = ""

    def __repr__(self) -> str:
        return "StoreCredentials(...)"


class Settings(NamedTuple):
    """What a client of the bucket needs.

    `endpoint`: the URL of the store; empty for AWS. `prefix`: of all keys, empty or ending in "/".
    `credentials` None: those of the machine's role. `request_timeout_s`: for one request; `patience_s`: for
    all tries of a request that may be repeated. `ca_file`: certificates (PEM) to trust in addition.
    """

    bucket: str
    endpoint: str = ""
    prefix: str = ""
    region: str = "us-east-1"
    credentials: StoreCredentials | None = None
    virtual_hosts: bool = False
    connect_timeout_s: float = 3.0
    request_timeout_s: float = 10.0
    patience_s: float = 10.0
    ca_file: str = ""


def check(settings: Settings) -> Settings:
    """The same settings. Raises ConfigError, one sentence that names the option."""
    if not settings.bucket:
        raise ConfigError("objects_bucket: say which bucket holds the blobs.")
    if settings.endpoint:
        url = urlsplit(settings.endpoint)
        if url.scheme not in ("http", "https") or not url.hostname or url.path.strip("/") or url.query:
            raise ConfigError("objects_endpoint: it must be a URL such as https://s3.example.org:8333.")
        if url.username is not None or url.password is not None:
            raise ConfigError("objects_endpoint: credentials go into the environment or a file, not here.")
    prefix = settings.prefix
    if prefix and (not prefix.endswith("/") or prefix.startswith("/") or "//" in prefix):
        raise ConfigError("objects_prefix: it must end with one slash, such as blobkeep/, or be empty.")
    if len(prefix.encode()) > keys.MAX_PREFIX_BYTES or keys.escape(prefix).replace(".1", "/") != prefix:
        raise ConfigError(
            f"objects_prefix: letters, digits, - and _ between slashes, {keys.MAX_PREFIX_BYTES} bytes at most"
        )
    return settings


def find_credentials(file: str) -> StoreCredentials | None:
    """The credentials of `file`, else of the environment (AWS_ACCESS_KEY_ID, ...); None if there are none.

    The file is like ~/.aws/credentials, with a section [default]; only its owner may read it. Raises
    ConfigError, whose text contains nothing of the file.
    """
    if file:
        return _from_file(Path(file))
    access, secret = os.environ.get("AWS_ACCESS_KEY_ID", ""), os.environ.get("AWS_SECRET_ACCESS_KEY", "")
    if bool(access) != bool(secret):
        raise ConfigError("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together: set both, or neither.")
    return StoreCredentials(access, secret, os.environ.get("AWS_SESSION_TOKEN", "")) if access else None


def _from_file(path: Path) -> StoreCredentials:
    try:
        mode = path.stat().st_mode
        text = path.read_text()
    except (OSError, UnicodeError) as err:
        raise ConfigError(f"objects_credentials_file: {path} cannot be read: {type(err).__name__}.") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"objects_credentials_file: others may read {path}: chmod 600 it.")
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
    except configparser.Error:
        raise ConfigError(f"objects_credentials_file: {path} is not like ~/.aws/credentials.") from None
    section = parser["default"] if parser.has_section("default") else {}
    access, secret = section.get("aws_access_key_id"), section.get("aws_secret_access_key")
    if not access or not secret:
        raise ConfigError(
            f"objects_credentials_file: {path} needs aws_access_key_id, aws_secret_access_key in [default]."
        )
    return StoreCredentials(access, secret, section.get("aws_session_token", ""))
