"""An HTTP/1.1 server behind Tornado's interfaces: strict on the wire, bounded, fast. Knows no blobs."""

from services.http1.context import RequestContext
from services.http1.exchange import Exchange
from services.http1.handed import Handed
from services.http1.limits import Limits
from services.http1.parser import CHUNKED, RequestHead
from services.http1.server import HTTPServer
from services.http1.server_interface import QuickAnswer
from services.http1.similar_fields import FieldBlock, Shape
from services.http1.steady_cache import SteadyCache
from services.http1.transport import COPY_BYTES

__all__ = [
    "CHUNKED",
    "COPY_BYTES",
    "Exchange",
    "FieldBlock",
    "HTTPServer",
    "Handed",
    "Limits",
    "QuickAnswer",
    "RequestContext",
    "RequestHead",
    "Shape",
    "SteadyCache",
]
