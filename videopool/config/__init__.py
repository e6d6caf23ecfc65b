"""Configuration: frozen dataclasses (``schema``) filled from YAML files and dotted overrides (``load``)."""

from videopool.config.differences import differences
from videopool.config.load import dump, from_plain, load, to_plain
from videopool.config.schema import Config

__all__ = ["Config", "differences", "dump", "from_plain", "load", "to_plain"]
