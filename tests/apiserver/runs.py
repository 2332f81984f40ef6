"""TrainingRuns of one namespace, as the tests of the API server write and read them."""

from typing import Any

from kubernetes import client

GROUP, VERSION, PLURAL = "trainyard.dev", "v1alpha1", "trainingruns"
Object = dict[str, Any]


class Runs:
    """TrainingRuns of one namespace, as plain objects."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self._custom = client.CustomObjectsApi(api)
        self._where = (GROUP, VERSION, namespace, PLURAL)

    def create(self, spec: Object, name: str = "run", *, dry_run: bool = False) -> Object:
        body = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "TrainingRun", "metadata": {"name": name}, "spec": spec}
        return self.create_object(body, dry_run=dry_run)

    def create_object(self, body: Object, *, dry_run: bool = False) -> Object:
        """Create it; a field that the schema does not have is an error, as with kubectl."""
        options = {"dry_run": "All"} if dry_run else {}
        return self._custom.create_namespaced_custom_object(*self._where, body, field_validation="Strict", **options)

    def get(self, name: str = "run") -> Object:
        return self._custom.get_namespaced_custom_object(*self._where, name)

    def replace(self, body: Object) -> Object:
        name = body["metadata"]["name"]
        return self._custom.replace_namespaced_custom_object(*self._where, name, body, field_validation="Strict")

    def patch(self, patch: Object, name: str = "run") -> Object:
        return self._custom.patch_namespaced_custom_object(*self._where, name, patch)

    def patch_status(self, status: Object, name: str = "run", *, resource_version: str | None = None) -> Object:
        """Merge-patch the status, as the operator does; with a resourceVersion, only when the object still has it."""
        metadata = {"resourceVersion": resource_version} if resource_version else {}
        body = {"metadata": metadata, "status": status}
        return self._custom.patch_namespaced_custom_object_status(*self._where, name, body)

    def delete(self, name: str = "run") -> None:
        self._custom.delete_namespaced_custom_object(*self._where, name)
