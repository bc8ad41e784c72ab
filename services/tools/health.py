"""`health`: asks the running server for its health, at the address and protocol of the configuration."""

from __future__ import annotations

import argparse
import contextlib
import json
import ssl

from services.tools import exits
from services.tools.client import HttpClient, add_token_argument, http_client
from services.tools.output import Output

HELP = "ask the running server how it is"

_TIMEOUT_S = 3.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `health`."""
    parser.add_argument("--url", help="the server's address (default: from the option `listen`)")
    parser.add_argument("--verbose", action="store_true", help="all that is known (may need --token-file)")
    parser.add_argument("--timeout", type=float, default=_TIMEOUT_S, metavar="SECONDS", help="(%(default)g)")
    add_token_argument(parser)


def run(args: argparse.Namespace, out: Output) -> int:
    """0 while blobs can be written and read, 1 if not, 5 if nobody answers."""
    # Without a token nothing secret is sent, so the certificate does not matter: after its renewal the server
    # may show the old one until SIGHUP. With a token the certificate is checked.
    tls = None if args.token_file else _any_certificate()
    with contextlib.closing(http_client(args.config, args.url, args.token_file, tls, args.timeout)) as client:
        return _ask(client, args, out)


def _ask(client: HttpClient, args: argparse.Namespace, out: Output) -> int:
    status, _, text = client.text("GET", "/healthz?verbose=1" if args.verbose else "/healthz")
    try:
        said = json.loads(text)
    except ValueError:  # not the server that we think it is
        said = text[:200]
    out.document({"server": client.name, "status": status, "said": said})
    if args.verbose:
        for line in text.splitlines():
            out.line(line)
    else:
        out.line(str(said["text"] if isinstance(said, dict) and "text" in said else said))
    return exits.OK if status == 200 else exits.NOT_WELL


def _any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
