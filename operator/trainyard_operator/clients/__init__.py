"""The clients of the Kubernetes API and of Ray's dashboards. Dictionaries and bytes in and out; no decisions."""
