"""Where results go on a development cluster: the claim `trainyard-results` in the default namespace."""

from dev.cluster.kubectl import Kubectl, Object

NAME = "trainyard-results"
NAMESPACE = "default"
SIZE = "50Gi"


def volume(host_path: str) -> Object:
    """A volume on the single node that only our claim can take, kept when the claim goes."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": NAME},
        "spec": {
            "capacity": {"storage": SIZE},
            "accessModes": ["ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "claimRef": {"namespace": NAMESPACE, "name": NAME},
            "hostPath": {"path": host_path, "type": "DirectoryOrCreate"},
        },
    }


def claim(*, static: bool) -> Object:
    """The claim; without `static` the cluster's default storage class provides its volume."""
    spec: Object = {
        "accessModes": ["ReadWriteMany" if static else "ReadWriteOnce"],
        "resources": {"requests": {"storage": SIZE if static else "5Gi"}},
    }
    if static:
        spec |= {"storageClassName": "", "volumeName": NAME}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": spec,
    }


def provide(kubectl: Kubectl, host_path: str | None) -> None:
    """Create the claim (and its volume on a single node); what exists already is left alone."""
    if kubectl.exists("persistentvolumeclaim", NAME, f"--namespace={NAMESPACE}"):
        return
    objects = [claim(static=host_path is not None)]
    kubectl.apply(objects if host_path is None else [volume(host_path), *objects])
