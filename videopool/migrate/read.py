"""Read a configuration of another package."""

from __future__ import annotations

from pathlib import Path

from videopool.config.loading import from_plain
from videopool.errors import InputError
from videopool.migrate.draft import Draft


def read(path: Path) -> Draft:
    """Return the configuration of a file of PySlowFast (YAML) or mmaction2 (Python), of which nothing is run.

    Raises:
        InputError: if the file is of neither package, if videopool does not have its network, or if its values do not
            fit together here.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file; give a YAML file of PySlowFast or a Python file of mmaction2")
    try:
        draft = _read(path)
    except InputError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        # The file was written for another program, so any of its values may have any type.
        raise InputError(
            f"{path}: a value has a type or form that is not expected ({type(error).__name__}: {error}); correct it"
        ) from error
    from_plain(draft.tree(), f"the configuration that {path} becomes")
    return draft


def _read(path: Path) -> Draft:
    if path.suffix == ".py":
        from videopool.migrate.mmaction2 import read_mmaction2

        return read_mmaction2(path)
    from videopool.migrate.pyslowfast import read_pyslowfast

    return read_pyslowfast(path)
