"""The operator's credentials for the API server: in a pod its service account, otherwise the kubeconfig.

kopf's own functions read them. The official client package is not used: importing its two thousand modules took most of
the operator's start-up time and half of its memory. Only a kubeconfig whose user is an exec plugin (cloud providers)
needs that package, which runs the plugin.
"""

import logging
import os
from dataclasses import replace

import kopf

from trainyard_operator import errors

logger = logging.getLogger(__name__)


def connection() -> kopf.ConnectionInfo:
    """The address of the API server and the credentials, read again. Raises errors.CredentialsError."""
    explicit = bool(os.environ.get("KUBECONFIG"))
    found = (None if explicit else _service_account()) or _kubeconfig()
    if found is None:
        raise errors.CredentialsError("there is neither a service account nor a kubeconfig: set KUBECONFIG")
    return found


def _service_account() -> kopf.ConnectionInfo | None:
    """Use the address in the environment, because DNS may be broken."""
    found = kopf.login_with_service_account(settings=kopf.OperatorSettings(), logger=logger)
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if found is None or not host:
        return found
    return replace(found, server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}")


def _kubeconfig() -> kopf.ConnectionInfo | None:
    settings = kopf.OperatorSettings()
    found = kopf.login_with_kubeconfig(settings=settings, logger=logger)
    if found is None or found.token or found.username or found.certificate_path or found.certificate_data:
        return found
    by_plugin = kopf.login_via_client(settings=settings, logger=logger)
    if by_plugin is None:
        raise errors.CredentialsError(
            "the kubeconfig's user has neither a token nor a certificate; for an exec plugin install `kubernetes`"
        )
    return by_plugin
