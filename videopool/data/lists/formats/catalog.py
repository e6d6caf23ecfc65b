"""All formats of lists, and the choice of one by the content of a source."""

from __future__ import annotations

from videopool.data.lists.formats import (
    activitynet,
    charades,
    custom,
    directories,
    diving48,
    epic_kitchens,
    frame_folders,
    hmdb51,
    lines,
    moments,
    resnets_3d,
    shards,
    something,
    tables,
    twentybn,
    ucf101,
    youtube,
)
from videopool.data.lists.formats.column_names import ONLY_CHARADES, ONLY_KINETICS
from videopool.data.lists.formats.entries import Listing
from videopool.data.lists.formats.json_text import EXPECTED, all_have, description
from videopool.data.lists.formats.list_source import Format, ListSource
from videopool.errors import InputError


def _refuse_json(source: ListSource) -> Listing:
    raise InputError(
        f"{source.place}: expected {EXPECTED}, but found {description(source.json)}. Write a table with the header "
        "path,label instead."
    )


FORMATS = (  # the first that claims a source reads it: folders and tar files, JSON, tables, then lines
    Format("custom", lambda source: bool(source.reader), custom.read),
    Format("hmdb51", hmdb51.claims, hmdb51.read, has_parts=True),
    Format("shards", shards.claims, shards.read),
    Format("directories", lambda source: source.is_folder, lambda source: directories.read_folder(source.place)),
    Format("3d-resnets", resnets_3d.claims, resnets_3d.read, has_parts=True),
    Format("activitynet", lambda source: bool(activitynet.database_of(source)), activitynet.read, has_parts=True),
    Format("diving48", lambda source: all_have(source.json, "vid_name"), diving48.read),
    Format("something-something-v2", lambda source: all_have(source.json, "id"), something.read),
    Format("json", lambda source: source.json is not None, _refuse_json, has_parts=True),
    Format("epic-kitchens", epic_kitchens.claims, epic_kitchens.read, has_parts=True),
    Format("hacs", youtube.claims_hacs, youtube.read_hacs, has_parts=True),
    Format("kinetics", lambda source: source.has_any(ONLY_KINETICS), youtube.read_kinetics, has_parts=True),
    Format("charades", lambda source: source.has_any(ONLY_CHARADES), charades.read, has_parts=True),
    Format("csv", lambda source: source.has_header, tables.read, has_parts=True),
    Format("jester", lambda source: twentybn.data_set(source) == "jester-v1", twentybn.read),
    Format(
        "something-something-v1", lambda source: twentybn.data_set(source) == "something-something-v1", twentybn.read
    ),
    Format("ucf101", ucf101.claims, ucf101.read),
    Format("moments", moments.claims, moments.read),
    Format("frames", frame_folders.claims, frame_folders.read),
    Format("list", lambda source: True, lines.read),
)


def find_format(source: ListSource) -> Format:
    """Return the format of ``source``."""
    found = next(each for each in FORMATS if each.claims(source))
    if source.part and not found.has_parts:
        raise InputError(
            f"{source.place}: #{source.part} selects a part, but a source of the format {found.name} has no parts. "
            "Leave it out."
        )
    return found
