"""`undelete LOCATION`: bring back the blob that was deleted or replaced last, while it is kept
(keep_deleted).

Through the running server, which owns every state (design rule 1).
"""

from __future__ import annotations

import argparse
import json
from typing import Any
from urllib.parse import quote

from services.tools import exits
from services.tools.client import HttpClient, add_token_argument, http_client, text_of, token_hint
from services.tools.exits import CommandFailed
from services.tools.output import Output

HELP = "bring back what was deleted or replaced"
_PAGE = 250


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `undelete`."""
    parser.add_argument("location", help="where it was, such as photos/cat.jpg")
    parser.add_argument("--id", metavar="ID", help="this one of what is kept, in place of the newest")
    parser.add_argument("--list", action="store_true", help="show what is kept of it, and change nothing")
    parser.add_argument("--replace", action="store_true", help="also where another blob is there by now")
    parser.add_argument("--url", help="the server (default: where the configuration says)")
    add_token_argument(parser)


def run(args: argparse.Namespace, out: Output) -> int:
    """Bring it back, durably. 3 if nothing is kept of it, 5 if another blob is there."""
    client = http_client(args.config, args.url, args.token_file)
    try:
        kept = _kept(client, args.location)
        if args.list:
            out.document({"kept": kept})
            for one in kept:
                out.line(f"{one['id']:>10} {one['size']:>14,}  kept until {one['kept_until']}")
            if kept:
                return exits.OK
            raise CommandFailed(exits.NOT_THERE, _nothing(client, args.location))
        chosen = [one for one in kept if args.id in (None, str(one["id"]))]
        if not chosen:
            raise CommandFailed(exits.NOT_THERE, _nothing(client, args.location))
        blob_id = chosen[0]["id"]
        query = "?replace" if args.replace else ""
        status, headers, text = client.text("POST", f"/blobs/{quote(str(blob_id))}/undelete{query}")
        if status not in (200, 201):
            raise _refusal(status, text)
        out.document({"location": args.location, "from": blob_id, "id": headers.get("Blob-Id")})
        out.line(f"{args.location} is back, from blob {blob_id}")
        return exits.OK
    finally:
        client.close()


def _kept(client: HttpClient, location: str) -> list[dict[str, Any]]:
    """The kept blobs of `location`, the one that was deleted or replaced last first."""
    found: list[dict[str, Any]] = []
    after = ""
    while True:
        status, _, text = client.text("GET", f"/blobs/?state=Failure&limit={_PAGE}{after}")
        if status != 200:
            raise _refusal(status, text)
        page = json.loads(text)
        found += [one for one in page["blobs"] if one["location"] == location and one["kept_until"]]
        if page["next"] is None:
            return sorted(found, key=lambda one: (one["kept_until"], one["sequence"]), reverse=True)
        after = f"&after={page['next']}"


def _nothing(client: HttpClient, location: str) -> str:
    """What to say where nothing is kept: no other try helps on a server that keeps nothing at all."""
    status, _, text = client.text("GET", "/session")
    if status == 200 and not json.loads(text)["keep_deleted_s"]:
        return (
            f"Nothing is kept of {location!r}, since this server keeps nothing that is deleted or replaced: "
            "write it again, from a backup."
        )
    return f"Nothing is kept of {location!r}."


def _refusal(status: int, answer: str) -> CommandFailed:
    text = (text_of(answer) or "The server refused.") + token_hint(status)
    return CommandFailed(exits.NOT_THERE if status == 404 else exits.REFUSED, text)
