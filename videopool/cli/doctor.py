"""``videopool doctor``."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "Check the installation: versions, GPU, kernels, decoders, disk."
EXAMPLES = """examples:
  videopool doctor
  videopool doctor --out /data/runs
  videopool doctor --json > doctor.json

Exits with 0, or with 2 if something needs to be fixed. Attach the output of --json to a bug report.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``videopool doctor``."""
    parser.add_argument(
        "--out", type=Path, default=Path("runs"), metavar="FOLDER", help="folder of the runs (default: runs)"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object instead of text")


def run(arguments: argparse.Namespace) -> int:
    """Print every finding, and the fix of each fault."""
    import json

    from videopool.cli.doctor_checks import examine

    findings = examine(arguments.out)
    faults = [finding for finding in findings if finding.fault]
    if arguments.json:
        values = {finding.name: finding.value for finding in findings}
        print(json.dumps({**values, "faults": {f.name: {"fault": f.fault, "fix": f.fix} for f in faults}}, indent=1))
        return 2 if faults else 0
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        print(f"{'FAULT' if finding.fault else 'ok':<5}  {finding.name:<{width}}  {finding.fault or finding.value}")
        if finding.fix:
            print(f"{'':<5}  {'':<{width}}  fix: {finding.fix}")
    print(f"\nfaults: {len(faults)}" if faults else "\neverything works")
    return 2 if faults else 0
