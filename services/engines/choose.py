"""The option `engine`: which engine keeps the blobs."""

from __future__ import annotations

from common.errors import ConfigError
from common.options import Config
from services.engine import Engine


def choose(config: Config) -> Engine:
    """The engine that the configuration names; only its code is loaded. Raises ConfigError."""
    if config.engine == "objects":
        try:
            from services.engines.objects.engine import ObjectsEngine
        except ModuleNotFoundError as err:
            raise ConfigError(
                f'engine = "objects" needs the package {err.name}: ./bootstrap.sh objects installs it.'
            ) from err
        return ObjectsEngine(config)
    from services.engines.local.engine import LocalEngine

    return LocalEngine(config)
