"""Where a run's checkpoints go. Pure."""

from collections.abc import Mapping
from typing import Any

from trainyard_operator.settings import TrainingDefaults


def effective_storage(spec: Mapping[str, Any], defaults: TrainingDefaults) -> Mapping[str, Any] | None:
    """The run's storage, otherwise the operator's default, otherwise None.

    A claim cannot be mounted in the pods of an existing cluster, so such a run does not use a default that is a claim.
    """
    default = defaults.storage or {}
    if "selector" in spec.get("cluster", {}) and "persistentVolumeClaim" in default:
        default = {}
    return spec.get("storage") or default or None
