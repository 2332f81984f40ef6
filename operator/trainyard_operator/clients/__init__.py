"""Clients at the edge: the Kubernetes API and Ray's dashboards. Dictionaries and bytes in and out; no decisions."""
