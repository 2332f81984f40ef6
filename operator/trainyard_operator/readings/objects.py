"""Reads the API's objects into the values of `model`. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainyard_operator import clock, names
from trainyard_operator.model import Cluster, Key, Pod, Run
from trainyard_operator.status_form import read_status
from trainyard_operator.vocabulary import KIND

Form = Mapping[str, Any]
TOKEN_VARIABLE = "RAY_AUTH_TOKEN"
TOKEN_KEY = "auth_token"


@dataclass(frozen=True)
class TokenSource:
    """The Secret with the token of a RayCluster, and the key in it."""

    secret: str
    key: str


def key_of(form: Form) -> Key:
    return Key(form["metadata"]["namespace"], form["metadata"]["name"])


def read_run(form: Form) -> Run:
    """Raises ValueError if the status is one that this operator could not have written."""
    metadata = form["metadata"]
    return Run(
        key=key_of(form),
        uid=metadata["uid"],
        generation=metadata.get("generation", 1),
        resource_version=metadata["resourceVersion"],
        deleting="deletionTimestamp" in metadata,
        spec=form.get("spec", {}),
        status=read_status(form.get("status")),
        finalizers=tuple(metadata.get("finalizers", ())),
        deletion_time=clock.from_text(metadata.get("deletionTimestamp")),
    )


def owner_uid(form: Form) -> str | None:
    """The uid of the TrainingRun that controls an object, None when none does."""
    owners = form["metadata"].get("ownerReferences", [])
    return next((o["uid"] for o in owners if o.get("kind") == KIND and o.get("controller")), None)


def read_cluster(form: Form) -> Cluster:
    metadata, spec, status = form["metadata"], form.get("spec", {}), form.get("status", {})
    conditions = {c["type"]: c for c in status.get("conditions") or []}
    suspending = any(
        conditions.get(f"RayCluster{word}", {}).get("status") == "True" for word in ("Suspending", "Suspended")
    )
    generation = metadata.get("annotations", {}).get(names.ANNOTATION_GENERATION)
    changed = conditions.get("RayClusterSuspended", {}).get("lastTransitionTime")
    trouble = conditions.get("ReplicaFailure", {})
    return Cluster(
        name=metadata["name"],
        uid=metadata["uid"],
        owner_uid=owner_uid(form) or "",
        generation=int(generation) if generation else None,
        deleting="deletionTimestamp" in metadata,
        suspended=bool(spec.get("suspend")) or suspending,
        suspension_changed=clock.from_text(changed),
        head_service=status.get("head", {}).get("serviceName") or f"{metadata['name']}-head-svc",
        desired_workers=sum(int(g.get("replicas", 0)) for g in spec.get("workerGroupSpecs", [])),
        trouble=(trouble.get("reason", ""), trouble.get("message", "")) if trouble.get("status") == "True" else None,
    )


def read_head(form: Form) -> Pod | None:
    """The head of a RayCluster according to KubeRay's status; None before there is one."""
    status = form.get("status", {})
    head = status.get("head", {})
    name = head.get("podName") or head.get("podIP")
    if not name:
        return None
    said = next((c["status"] for c in status.get("conditions") or [] if c["type"] == "HeadPodReady"), None)
    ready = said == "True" if said else status.get("state") == "ready"
    phase = "Running" if ready else "Pending"
    return Pod(name, head=True, phase=phase, ready=ready, deleting=False, address=head.get("podIP") or None)


def token_source(form: Form) -> TokenSource | None:
    """Where a RayCluster's token is: from its authOptions, or from a variable of its head; None if it has no token."""
    spec = form.get("spec", {})
    options = spec.get("authOptions") or {}
    if options.get("mode") == "token":
        return TokenSource(options.get("secretName") or form["metadata"]["name"], TOKEN_KEY)
    containers = spec.get("headGroupSpec", {}).get("template", {}).get("spec", {}).get("containers", [])
    for variable in containers[0].get("env", []) if containers else []:
        reference = variable.get("valueFrom", {}).get("secretKeyRef", {})
        if variable["name"] == TOKEN_VARIABLE and "name" in reference:
            return TokenSource(reference["name"], reference.get("key", TOKEN_KEY))
    return None


def slim_run(form: Form) -> dict[str, Any]:
    """A TrainingRun in the form for the cache: without managedFields and kubectl's copy of the object."""
    metadata = {k: v for k, v in form["metadata"].items() if k not in ("managedFields", "annotations")}
    return {"metadata": metadata, "spec": form.get("spec", {}), "status": form.get("status", {})}


def slim_cluster(form: Form) -> dict[str, Any]:
    """A RayCluster without its pod templates."""
    spec, status = form.get("spec", {}), form.get("status", {})
    groups = [{"replicas": g.get("replicas", 0)} for g in spec.get("workerGroupSpecs", [])]
    annotations = form["metadata"].get("annotations", {})
    metadata = _slim_metadata(form)
    if names.ANNOTATION_GENERATION in annotations:
        metadata["annotations"] = {names.ANNOTATION_GENERATION: annotations[names.ANNOTATION_GENERATION]}
    return {
        "metadata": metadata,
        "spec": {"suspend": spec.get("suspend", False), "workerGroupSpecs": groups},
        "status": {k: status[k] for k in ("conditions", "head") if k in status},
    }


def slim_pod(form: Form) -> dict[str, Any]:
    """A pod without its specification."""
    status = form.get("status", {})
    kept = ("phase", "podIP", "reason", "message", "conditions", "initContainerStatuses", "containerStatuses")
    return {"metadata": _slim_metadata(form), "status": {k: status[k] for k in kept if k in status}}


def _slim_metadata(form: Form) -> dict[str, Any]:
    kept = ("name", "namespace", "uid", "resourceVersion", "labels", "ownerReferences", "deletionTimestamp")
    return {k: form["metadata"][k] for k in kept if k in form["metadata"]}
