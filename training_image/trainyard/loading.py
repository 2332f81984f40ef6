"""Importing what a specification names as `package.module:attribute`."""

from __future__ import annotations

import difflib
import importlib
from typing import Any

from trainyard.errors import InvalidConfiguration


def load(path: str, field: str) -> Any:
    """Import it.

    Raises:
        InvalidConfiguration: there is no such module or attribute; `field` is the place to correct.
    """
    module_name, _, attribute = path.partition(":")
    if not (module_name and attribute):
        raise InvalidConfiguration.of(field, f"is {path!r}", "write package.module:name")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InvalidConfiguration.of(
            field,
            f"{module_name!r} cannot be imported: {error}",
            "add it to spec.runtimeEnv.pip, to the image, or to a volume that spec.cluster's pod templates mount and "
            "have on PYTHONPATH; trainyard run also finds what is in the current folder",
        ) from error
    found = getattr(module, attribute, None)
    if found is None:
        candidates = [candidate for candidate in dir(module) if callable(getattr(module, candidate))]
        near = difflib.get_close_matches(attribute, candidates, n=1)
        remedy = f"did you mean {near[0]!r}" if near else f"name something of {module.__file__}"
        raise InvalidConfiguration.of(field, f"{module_name!r} has no {attribute!r}", remedy)
    return found
