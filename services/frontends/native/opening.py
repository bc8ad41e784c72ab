"""A plain GET without a RequestHandler, of a blob whose engine must be waited for."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from services.frontends.native.errors import answer_without_handler
from services.frontends.native.quick_reads import ok_lines, whole_answer
from services.frontends.native.sending import Answered, Sending
from services.frontends.shortcut import WholeRequest
from services.http1 import Exchange
from services.store import Blob, Store


class Opening(WholeRequest):
    """One GET of `location`. `fields_of`: the fields of a blob that is read whole, as they are sent."""

    def __init__(
        self,
        exchange: Exchange,
        store: Store,
        location: str,
        fields_of: Callable[[Blob], bytes],
        answered: Answered,
    ) -> None:
        self._began = perf_counter()
        self._exchange = exchange
        self._store = store
        self._location = location
        self._fields_of = fields_of
        self._answered = answered

    async def _answer(self) -> None:
        exchange = self._exchange
        try:
            reading = await self._store.open(self._location)
            head = ok_lines() + self._fields_of(reading.blob)
        except Exception as err:  # noqa: BLE001 - answered, and logged where it is none of ours
            answer = answer_without_handler(exchange.head, err)
            exchange.respond(*whole_answer(*answer))
            self._answered(exchange, answer[0], self._began)
            return
        sending = Sending(exchange, reading, head, self._answered, began=self._began)
        sent_bytes = sending.send_now()
        if sent_bytes is not None:
            await sending.send(sent_bytes)
