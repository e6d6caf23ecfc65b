"""The keys of a configuration, described: for ``--explain``, the reference page, and the JSON schema for editors.

``python -m videopool.config.reference`` writes docs/configuration.md and the schemas of configs/.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from pathlib import Path
from typing import Any, Literal

from videopool.config.comparison import Comparison
from videopool.config.keys import is_union, keys_of
from videopool.config.schema import Config
from videopool.config.section import Target
from videopool.errors import InputError, did_you_mean
from videopool.ranges import Range

_JSON_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string", dict: "object"}


def explain(name: str) -> str:
    """Return what the key ``name`` means, or all keys of the section ``name``; "" is the whole configuration.

    Raises:
        InputError: for an unknown name, with the nearest one.
    """
    known = list(keys_of(Config))
    chosen = [key for key in known if not name or key.name == name or key.name.startswith(f"{name}.")]
    if chosen:
        return "\n\n".join(map(str, chosen))
    names = [key.name for key in known]
    same = [full for full in names if full.rpartition(".")[2] == name]
    sections = dict.fromkeys(full.partition(".")[0] for full in names if "." in full)
    hint = did_you_mean(name, names, first=same) or f"Sections are {', '.join(sections)}."
    raise InputError(f"unknown key {name!r}. {hint}")


def markdown() -> str:
    """Return the page docs/configuration.md: a table of the keys of every section."""
    lines = [
        "# Configuration",
        "",
        "All keys of a training configuration. `videopool train --explain KEY` shows one key, and",
        "`videopool train --config NAME --print-config` the value of every key. A file overrides its `base` files, and",
        "`key=value` on the command line overrides the file. Unknown keys are errors.",
        "",
        "`python -m videopool.config.reference` generates this page and `configs/schema.json` from",
        "`videopool/config/schema.py`. With the schema, editors complete and check YAML files: put",
        "`# yaml-language-server: $schema=PATH/configs/schema.json` into the first line of a file.",
    ]
    section = None
    for key in keys_of(Config):
        start = key.name.rpartition(".")[0]
        if start != section:
            section = start
            about = _section_about(start)
            lines += ["", f"## {start or 'The run'}", "", *([about, ""] if about else [])]
            lines += ["| key | meaning | values | default |", "|---|---|---|---|"]
        cells = (key.about, key.values, f"`{key.default_text}`")
        lines.append(f"| `{key.name}` | " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def json_schema(section: type = Config) -> dict[str, Any]:
    """Return the JSON schema (draft 7) of a configuration file whose top level is ``section``."""
    schema = _object(section)
    names = {"type": "string", "description": "A file whose keys are taken first."}
    base = {"anyOf": [names, {"type": "array", "items": names}]}
    schema["properties"] = {"base": base, **schema["properties"]}
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": f"videopool {section.__name__}", **schema}


def _object(section: type) -> dict[str, Any]:
    hints = typing.get_type_hints(section)
    properties: dict[str, Any] = {}
    for field in dataclasses.fields(section):
        if dataclasses.is_dataclass(hints[field.name]):
            properties[field.name] = _object(typing.cast(type, hints[field.name]))
    for key in keys_of(section):
        if "." not in key.name:
            properties[key.name] = {"description": key.about, **_value(key.hint, key.allowed), "default": key.default}
    ordered = {field.name: properties[field.name] for field in dataclasses.fields(section) if field.name in properties}
    about = (section.__doc__ or "").partition("\n")[0]
    return {"type": "object", "description": about, "additionalProperties": False, "properties": ordered}


def _value(hint: Any, allowed: Range | None) -> dict[str, Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is tuple:
        length = {} if arguments[-1] is Ellipsis else {"minItems": len(arguments), "maxItems": len(arguments)}
        return {"type": "array", "items": _value(arguments[0], allowed), **length}
    if is_union(hint):
        return {"anyOf": [_value(each, allowed) for each in arguments]}
    if hint is Target:
        return {"type": "string", "pattern": r"\."}
    value: dict[str, Any] = {"type": _JSON_TYPES[origin or hint]}
    if hint is str:
        value = {"type": ["string", "number"]}  # load takes both
    if allowed is not None and allowed.least is not None:
        value["exclusiveMinimum" if allowed.above else "minimum"] = allowed.least
    if allowed is not None and allowed.most is not None:
        value["exclusiveMaximum" if allowed.below else "maximum"] = allowed.most
    return value


def _section_about(dotted: str) -> str:
    section: Any = Config
    for name in dotted.split(".") if dotted else ():
        section = typing.get_type_hints(section)[name]
    return "" if section is Config else " ".join((section.__doc__ or "").split())


def files(root: Path) -> dict[Path, str]:
    """Return the content of the generated files of a checkout at ``root``."""
    schemas = {"schema.json": Config, "comparison.schema.json": Comparison}
    texts = {root / "configs" / name: json.dumps(json_schema(cls), indent=1) + "\n" for name, cls in schemas.items()}
    return {root / "docs/configuration.md": markdown(), **texts}


if __name__ == "__main__":
    for place, text in files(Path(__file__).resolve().parents[2]).items():
        place.write_text(text, encoding="utf-8")
