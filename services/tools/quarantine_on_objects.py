"""`quarantine` for blobs in an object store: through the engine, while servers run."""

from __future__ import annotations

import argparse

import msgspec

from common.errors import AlreadyExists, Damaged, NotFound
from common.times import to_the_second
from services.engine import Admin, DeletedSince, KeptDamage, Quarantine
from services.rules.locations import check_location
from services.store import Store
from services.tools import exits, on_objects, quarantine_texts
from services.tools.exits import CommandFailed
from services.tools.output import Output

_UNNAMED = "-"  # it cannot even be read: nothing of it is kept elsewhere


def run(args: argparse.Namespace, out: Output) -> int:
    """Do what `args.action` says."""
    action = {"list": _list, "show": _show, "restore": _restore, "drop": _drop}[args.action]

    async def go(store: Store, admin: Admin) -> int:
        assert admin.quarantine is not None
        return await action(admin, admin.quarantine, args, out)

    return on_objects.run(args.config, go)


async def _list(admin: Admin, quarantine: Quarantine, args: argparse.Namespace, out: Output) -> int:
    found = list(await quarantine.find())
    named = {one.location for one in found if one.state == "answers 500"}
    found += [
        KeptDamage(_UNNAMED, one.location, one.reason, _UNNAMED, "answers 500", None)
        for one in await admin.find_damaged()
        if one.location not in named
    ]
    out.document({"quarantined": [msgspec.to_builtins(one) for one in found]})
    rows = [
        [one.name, to_the_second(one.time), one.state, one.location or "unknown", one.reason] for one in found
    ]
    quarantine_texts.say_list(out, rows)
    return exits.OK


async def _show(admin: Admin, quarantine: Quarantine, args: argparse.Namespace, out: Output) -> int:
    about, bad, damage = await quarantine.examine(args.name)
    return quarantine_texts.say_examined(out, msgspec.to_builtins(about), bad, damage)


async def _restore(admin: Admin, quarantine: Quarantine, args: argparse.Namespace, out: Output) -> int:
    if args.url is not None:
        raise CommandFailed(exits.USAGE, "An object store is reached without a server: leave out --url.")
    if args.to is not None:
        check_location(args.to)
    location = args.to
    try:
        if location is None:
            location = next((one.location for one in await quarantine.find() if one.name == args.name), None)
        restored = await quarantine.restore(args.name, args.to, even_deleted=args.even_deleted)
    except NotFound as err:
        raise quarantine_texts.no_such(args.name) from err
    except Damaged as err:
        place = f"the objects damaged/{args.name} and data/...{args.name}-..."
        raise quarantine_texts.not_whole(args.name, str(err), place) from err
    except AlreadyExists as err:
        raise quarantine_texts.written_since(location or "") from err
    except DeletedSince as err:
        raise quarantine_texts.deleted_since(location or "") from err
    out.document({"restored": args.name, "location": restored.location})
    quarantine_texts.say_restored(out, args.name, restored.location, restored.size, "what was kept of it")
    return exits.OK


async def _drop(admin: Admin, quarantine: Quarantine, args: argparse.Namespace, out: Output) -> int:
    found = {one.name: one.location for one in await quarantine.find()}
    for name in args.name:
        if name not in found:
            raise quarantine_texts.no_such(name)
    if not args.yes:
        quarantine_texts.ask([(name, found[name]) for name in args.name])
    freed_bytes = sum([await quarantine.drop(name) for name in args.name])
    quarantine_texts.say_dropped(out, args.name, freed_bytes)
    return exits.OK
