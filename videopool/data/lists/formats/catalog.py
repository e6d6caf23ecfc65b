"""All formats of lists, and the choice of one by the content of a source."""

from __future__ import annotations

from videopool.data.lists.formats import (
    activitynet,
    charades,
    directories,
    diving48,
    epic_kitchens,
    frame_folders,
    hmdb51,
    lines,
    moments,
    own,
    resnets_3d,
    shards,
    something,
    tables,
    twentybn,
    ucf101,
    unknown_json,
    youtube,
)
from videopool.data.lists.formats.source import Format, Source
from videopool.errors import InputError

FORMATS = (  # the first that claims a source reads it: folders and tar files, JSON, tables, then lines
    Format("own", own.claims, own.read),
    Format("hmdb51", hmdb51.claims, hmdb51.read, has_parts=True),
    Format("shards", shards.claims, shards.read),
    Format("directories", directories.claims, directories.read),
    Format("3d-resnets", resnets_3d.claims, resnets_3d.read, has_parts=True),
    Format("activitynet", activitynet.claims, activitynet.read, has_parts=True),
    Format("diving48", diving48.claims, diving48.read),
    Format("something-something-v2", something.claims, something.read),
    Format("json", unknown_json.claims, unknown_json.refuse, has_parts=True),
    Format("epic-kitchens", epic_kitchens.claims, epic_kitchens.read, has_parts=True),
    Format("hacs", youtube.claims_hacs, youtube.read_hacs, has_parts=True),
    Format("kinetics", youtube.claims_kinetics, youtube.read_kinetics, has_parts=True),
    Format("charades", charades.claims, charades.read, has_parts=True),
    Format("csv", tables.claims, tables.read, has_parts=True),
    Format("jester", twentybn.claims_jester, twentybn.read),
    Format("something-something-v1", twentybn.claims_something, twentybn.read),
    Format("ucf101", ucf101.claims, ucf101.read),
    Format("moments", moments.claims, moments.read),
    Format("frames", frame_folders.claims, frame_folders.read),
    Format("list", lines.claims, lines.read),
)


def find_format(source: Source) -> Format:
    """Return the format of ``source``.

    Raises:
        InputError: for a part of a source whose format has no parts, text that cannot be read, invalid JSON, and a
            missing file of classes that the choice of a format depends on.
    """
    found = next(each for each in FORMATS if each.claims(source))
    if source.part and not found.has_parts:
        raise InputError(
            f"{source.place}: #{source.part} selects a part, but a source of the format {found.name} has no parts. "
            "Leave it out."
        )
    return found
