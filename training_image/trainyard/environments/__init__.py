"""Environments: the built-in ones, and any other by its name.

What belongs here: environments, their wrappers, and finding both by name. What does not: RLlib, torch and anything
that trains. Importing this package imports none of numpy, gymnasium or pandas; making an environment does.
"""

from trainyard.environments.registry import (
    BUILT_IN,
    VECTORISED,
    creator,
    make,
    resolve,
    wrap,
)

__all__ = ["BUILT_IN", "VECTORISED", "creator", "make", "resolve", "wrap"]
