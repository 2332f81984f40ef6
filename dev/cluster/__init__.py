"""A Kubernetes cluster for development and end-to-end tests: `python -m dev.cluster up`.

Every module here may do I/O on this machine. Kubernetes is reached through kubectl alone, and nothing here is imported
by the operator or the training library.
"""
