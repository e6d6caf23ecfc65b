"""Export a network as a torch.export program that needs torch alone."""

from __future__ import annotations

from pathlib import Path

from videopool.export import plain, trace, verify
from videopool.export.deployed import Deployed, Exported
from videopool.export.description import Description

FILE = "portable.pt2"


def export_portable(deployed: Deployed, description: Description, folder: Path) -> Exported:
    """Write ``portable.pt2`` (any batch size) and the description; verify the file.

    The program maps uint8 clips [B,3,T,H,W] to logits [B,K]. The native pooling ops are replaced by torch's own ops,
    which are slower. It is verified in a process where videopool cannot be imported.

    Raises:
        InputError: if the network has an operator of another library.
        RuntimeError: if the file does not give the logits of the network; with the operators that differ.
    """
    expected = verify.expected_logits(deployed, description)
    native, table = trace.trace(deployed, description), plain.table()
    program = trace.decompose(native, table)
    with (
        trace.written(program, description, folder / FILE) as path,
        verify.naming_operators(lambda: verify.differing_operators(native, table, description)),
    ):
        difference = verify.compare(expected, verify.run_isolated(path, description), of=FILE)
    description.write(folder)
    return Exported(folder / FILE, difference)
