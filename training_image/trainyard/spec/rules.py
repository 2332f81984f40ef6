"""The twins of the CRD's rules for single fields and sections: what CEL says there, said in Python.

A rule is found by its text, so that one that is changed in the CRD and not here is an error of the first test and not a
difference that nobody sees. Rules of the whole spec are in `trainyard.spec.relations`.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from trainyard.spec.units import LEAST_MEMORY, MOST_CPUS, QUANTITY, quantity

Predicate = Callable[[Any], bool]

_MATCH = r"(!?)self\.matches\('([^']*)'\)"
_MATCHES = re.compile(rf"{_MATCH}(?: && {_MATCH})*")
_PREFIX = "([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
_NAME_OF_A_LABEL = f"^{_PREFIX}[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?$"
_OF_A_NEW_CLUSTER = ("head", "worker", "spread")
_OF_ITS_OBJECT = ("queueName", "labels", "annotations")


def _is_quantity(value: Any) -> bool:
    return QUANTITY.fullmatch(str(value)) is not None


_TWINS: dict[str, Predicate] = {
    "self.size() <= 40": lambda text: len(text) <= 40,
    "string(self).matches('^([0-9]+([.][0-9]*)?|[.][0-9]+)(m|[kMGTP]|[KMGTP]i)?$') && "
    "quantity(string(self)).isGreaterThan(quantity('0'))": lambda value: _is_quantity(value) and quantity(value) > 0,
    "!isQuantity(string(self)) || quantity(string(self)).compareTo(quantity('64Mi')) >= 0 || "
    "!quantity(string(self)).isGreaterThan(quantity('0'))": lambda value: (
        not _is_quantity(value) or quantity(value) >= LEAST_MEMORY or quantity(value) <= 0
    ),
    "!isQuantity(string(self)) || quantity(string(self)).compareTo(quantity('100k')) <= 0": lambda value: (
        not _is_quantity(value) or quantity(value) <= MOST_CPUS
    ),
    "has(self.atLeast) != has(self.atMost)": lambda bound: ("atLeast" in bound) != ("atMost" in bound),
    "has(self.run) != has(self.uri)": lambda resume: ("run" in resume) != ("uri" in resume),
    "has(self.persistentVolumeClaim) != has(self.uri)": lambda storage: (
        ("persistentVolumeClaim" in storage) != ("uri" in storage)
    ),
    "self.min < self.max": lambda bounds: bounds["min"] < bounds["max"],
    "self.min > 0.0": lambda bounds: bounds["min"] > 0,
    "!self.startsWith('/') && !self.split('/').exists(part, part == '..')": lambda path: (
        not path.startswith("/") and ".." not in path.split("/")
    ),
    "has(self.pip) || !has(self.pipInstallOptions)": lambda packages: (
        "pip" in packages or "pipInstallOptions" not in packages
    ),
    f"self.all(key, key.size() <= 317 && key.matches('{_NAME_OF_A_LABEL}'))": lambda labels: all(
        len(name) <= 317 and _found(_NAME_OF_A_LABEL, name) for name in labels
    ),
    # Kubernetes reads the names of annotations as if they were in lower case.
    f"self.all(key, key.size() <= 317 && key.lowerAscii().matches('{_NAME_OF_A_LABEL}'))": lambda annotations: all(
        len(name) <= 317 and _found(_NAME_OF_A_LABEL, name.lower() if name.isascii() else name) for name in annotations
    ),
    "!has(self.selector) || !(has(self.head) || has(self.worker) || has(self.spread))": lambda cluster: (
        "selector" not in cluster or not any(name in cluster for name in _OF_A_NEW_CLUSTER)
    ),
    "!has(self.selector) || !(has(self.queueName) || has(self.labels) || has(self.annotations))": lambda cluster: (
        "selector" not in cluster or not any(name in cluster for name in _OF_ITS_OBJECT)
    ),
    "!has(self.selector) || self.auth == 'Token'": lambda cluster: (
        "selector" not in cluster or cluster.get("auth", "Token") == "Token"
    ),
    "has(self.selector) || !has(self.cleanup)": lambda cluster: "selector" in cluster or "cleanup" not in cluster,
    '!has(self.queueName) || !has(self.labels) || !self.labels.exists(key, key == "kueue.x-k8s.io/queue-name")': (
        lambda cluster: "queueName" not in cluster or "kueue.x-k8s.io/queue-name" not in cluster.get("labels", {})
    ),
}


@cache
def twin(rule: str) -> Predicate:
    """What says of a value whether it keeps `rule`. Raises KeyError for a rule that has no twin."""
    if _MATCHES.fullmatch(rule) is None:
        return _TWINS[rule]
    parts = [(bool(negation), pattern) for negation, pattern in re.findall(_MATCH, rule)]
    return lambda text: all(_found(pattern, text) != negated for negated, pattern in parts)


def _found(pattern: str, text: str) -> bool:
    return _compiled(pattern).search(text) is not None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """A pattern of RE2, whose $ is the very end of the text, and to whom a [ in brackets is no riddle."""
    if pattern.endswith("$"):
        pattern = pattern[:-1] + r"\Z"
    return re.compile(pattern.replace("[[]", r"\["), re.ASCII)
