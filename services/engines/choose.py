"""The option `engine`: which engine keeps the blobs."""

from __future__ import annotations

from common.options import Config
from services.engine import Engine
from services.engines.local.engine import LocalEngine


def choose(config: Config) -> Engine:
    """The engine that the configuration names."""
    return LocalEngine(config)
