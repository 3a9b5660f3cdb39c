"""Model families as data.

A family is one file here with one ``FAMILY``; the listing is the list.
"""

from __future__ import annotations

import importlib
import pkgutil

from echoexport.runtime.contract.family import Family
from echoexport.runtime.errors import UnknownNameError


def list_families() -> tuple[str, ...]:
    """Names of the families that this release knows, sorted."""
    return tuple(sorted(found.name.replace("_", "-") for found in pkgutil.iter_modules(__path__)))


def find_family(name: str) -> Family:
    """The family called ``name``.

    Raises:
        UnknownNameError: no such family.
    """
    known = list_families()
    if name not in known:
        raise UnknownNameError("family", name, known=known)
    family: Family = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").FAMILY
    return family
