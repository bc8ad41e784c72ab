"""`link LOCATION`: a signed link to one blob, which expires. See services/access/links.py."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time

from common import durable
from services.access import file as access_file
from services.access import links
from services.rules.locations import check_location, quote_location
from services.tools import access, exits
from services.tools.exits import CommandFailed
from services.tools.output import Output
from services.tools.owner import must_be_owner

HELP = "make a link to a blob that works without a token, and expires"

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"([1-9][0-9]{0,8})([smhdw])")
_MOST_S = 10 * 366 * 86400


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `link`."""
    parser.add_argument("location", help="of the blob, such as photos/cat.jpg")
    parser.add_argument(
        "--for", dest="lasts", default="1d", metavar="TIME", help="30m, 12h, 7d, 4w (default: 1d)"
    )
    parser.add_argument("--put", action="store_true", help="to write the blob, in place of reading it")
    parser.add_argument(
        "--url", default="", metavar="URL", help="what the link begins with (default: from the option listen)"
    )
    access.add_file_argument(parser)


def run(args: argparse.Namespace, out: Output) -> int:
    """Print the link. The first one makes the key, which a running server reads on SIGHUP."""
    path: str = args.file or args.config.auth_file
    if not path:
        text = "No access file is named, and without one everybody may do everything and needs no link: "
        raise CommandFailed(exits.USAGE, text + "set auth_file, or give --auth-file.")
    location: str = args.location
    check_location(location)
    lasts_s = _seconds(args.lasts)
    key = access_file.load_rules(path).link_key or _make_key(os.path.realpath(path))
    expires_s = int(time.time()) + lasts_s
    query = links.query(key, links.WRITE if args.put else links.READ, location, expires_s)
    url = f"{_base(args)}/store/{quote_location(location)}?{query}"
    out.document({"url": url, "method": "PUT" if args.put else "GET", "expires": expires_s})
    out.line(url)
    return exits.OK


def _seconds(text: str) -> int:
    found = _DURATION.fullmatch(text)
    seconds = int(found[1]) * _UNITS_S[found[2]] if found else 0
    if not 0 < seconds <= _MOST_S:
        raise CommandFailed(exits.USAGE, f"{text!r} is no time up to ten years: 30m, 12h, 7d, 4w.")
    return seconds


def _make_key(path: str) -> str:
    must_be_owner(path)
    key = access_file.make_link_key()
    try:
        durable.replace_durably(path, access_file.with_link_key(access_file.read_text(path), key).encode())
    except ValueError as err:
        raise CommandFailed(exits.USAGE, f"{path}: {err}.") from err
    sys.stderr.write(f"{path} has a key for links now: blobkeep ctl signal HUP server\n")
    return key


def _base(args: argparse.Namespace) -> str:
    if args.url:
        return str(args.url).rstrip("/")
    host, _, port = args.config.listen.rpartition(":")
    host = "localhost" if host in ("", "0.0.0.0", "[::]", "*") else host
    return f"{'https' if args.config.tls_cert else 'http'}://{host}:{port}"
