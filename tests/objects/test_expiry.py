"""Clients do not see an expired blob. The recovery worker deletes it."""

from __future__ import annotations

import asyncio

from common.errors import NotFound
from services.engines.objects.admin import ObjectsAdmin
from services.engines.objects.expiry import Expiry
from services.engines.objects.pointer import DELETED
from services.engines.objects.verifier import check_once
from services.store import Content
from tests.engines.makers import PART_BYTES, Under, objects_store, only_new, only_there
from tests.objects.test_requests import fails
from tests.support.seaweed import Seaweed

OVER = Content("text/plain", metadata={"blob-expires": "Thu, 01 Jan 2026 00:00:00 GMT"})
LATER = Content("text/plain", metadata={"blob-expires": "Fri, 01 Jan 2100 00:00:00 GMT"})


def test_what_has_expired(store_process: Seaweed) -> None:
    async def go() -> None:
        store = objects_store(store_process.client())
        under = Under(store, store.events)
        store.expiry = store.listing._expiry = Expiry((("tmp/", 0.0), ("tmp/kept/", 1e9)))
        large = b"x" * (PART_BYTES + 1)
        for name, content in (("over", OVER), ("large", OVER), ("later", LATER), ("tmp/a", None)):
            body = large if name == "large" else b"x"
            await under.put(name, body, content=content or Content("text/plain"))
        await under.put("tmp/kept/a")
        for name in ("over", "large", "tmp/a"):
            assert await store.stat(name) is None
            assert await under.get(name) is None
            await fails(under.put(name, condition=only_there), NotFound)
            await fails(store.delete(name, only_there), NotFound)
        assert await under.names() == ["later", "tmp/kept/a"]
        described = {
            one.location: one for one in await ObjectsAdmin(store.tools, store).list_by_id(None, None, 9)
        }
        assert described["later"].expires == "2100-01-01T00:00:00.000000000Z"
        # Its name is free.
        old = (await store.tools.pointers.read("over")).blob
        assert old is not None
        _, replaced = await under.put("over", b"new", only_new, whole=True)
        assert not replaced
        assert not await store.expiry.end(store.tools, old)  # it is another blob by now
        assert await under.get("over") == b"new"

        assert (await check_once(store.tools, 0.0, store.expiry, dry_run=True)).expired == 0
        found = await check_once(store.tools, 0.0, store.expiry, dry_run=False)
        assert (found.expired, found.blobs) == (2, 3)
        for name, state in (("large", DELETED), ("tmp/a", DELETED), ("later", "OK"), ("over", "OK")):
            pointer = (await store.tools.pointers.read(name)).pointer
            assert pointer is not None
            assert pointer.state == state

    asyncio.run(go())
