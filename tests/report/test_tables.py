"""Rows as Markdown, CSV and JSON."""

import csv
import io
import json
import math

from videopool.report.tables import csv_text, json_text, markdown

ROWS = [
    {"method": "avg", "ssim": 0.123456, "videos": 3, "exact": True},
    {"method": "a|b", "ssim": math.inf, "videos": None, "exact": False},
]


def test_markdown_aligns_numbers_and_escapes() -> None:
    assert markdown(ROWS, ["method", "ssim", "videos", "exact", "absent"]).splitlines() == [
        "| method | ssim | videos | exact | absent |",
        "| --- | ---: | ---: | --- | --- |",
        "| avg | 0.1235 | 3 | yes | - |",
        "| a\\|b | inf | - | no | - |",
    ]
    lines = markdown([{"x": "**0.5** ± 0.1", "y": "3x3"}, {"x": "-1", "y": "lp"}], ["x", "y"]).splitlines()
    assert lines[1] == "| ---: | --- |"


def test_csv_keeps_full_precision_and_every_column() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text([*ROWS, {"late": 'a,"b"'}]))))
    assert list(rows[0]) == ["method", "ssim", "videos", "exact", "late"]
    assert float(rows[0]["ssim"]) == 0.123456
    assert (rows[1]["videos"], rows[2]["method"], rows[2]["late"]) == ("", "", 'a,"b"')


def test_json_is_strict() -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    content = {"psnr": (math.inf, -math.inf, math.nan, 1.5), 2: None}
    assert json.loads(json_text(content), parse_constant=refuse) == {"psnr": ["inf", "-inf", None, 1.5], "2": None}
