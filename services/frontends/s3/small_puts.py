"""A PutObject whose body came with its head, without a RequestHandler: the same operation, another HTTP side.

A handler would take longer than everything else. See fast_path for the requests that come here.
"""

from __future__ import annotations

from services.frontends.s3.exchange_answers import ExchangeAnswer
from services.frontends.s3.stubs import check_acl
from services.frontends.s3.writing import PutObject
from services.frontends.shortcut import WholeRequest


class SmallPut(ExchangeAnswer, WholeRequest):
    """One such request, and where its answer goes."""

    async def _answer(self) -> None:
        request = self._request_of(self)
        operation = PutObject(request)
        try:
            check_acl(request)
            await operation.put(self._body)
        except Exception as err:  # noqa: BLE001 - it is answered, and told if it is not expected
            await operation.abort(str(err))
            self._refuse(err)
        self._respond(request.user)
