"""The server's certificate: read at the start, and again on SIGHUP."""

from __future__ import annotations

import ssl

from common.errors import ConfigError
from common.options import Config


def renew(context: ssl.SSLContext, config: Config) -> None:
    """Make `context` read the files again, for new connections. It is unchanged if this raises ConfigError,
    OSError.
    """
    tls_context(config)  # first into one that nobody uses: `context` must not be changed by half
    context.load_cert_chain(config.tls_cert, config.tls_key)


def tls_context(config: Config) -> ssl.SSLContext | None:
    """The certificate that the configuration names, or None. Raises ConfigError."""
    if not config.tls_cert and not config.tls_key:
        return None
    if not config.tls_cert or not config.tls_key:
        raise ConfigError("tls_cert and tls_key go together: give both, or neither.")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(config.tls_cert, config.tls_key)
    except (OSError, ssl.SSLError) as err:
        raise ConfigError(f"tls_cert or tls_key cannot be used: {err}.") from err
    context.set_alpn_protocols(["http/1.1"])  # a client that could speak HTTP/2 learns so that we do not
    return context
