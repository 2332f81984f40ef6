"""Creates the operator's key, once: `python -m trainyard_operator.operator_key`, the init container of the operator.

The key is a Secret in the operator's own namespace; the tokens of all Ray clusters are derived from it. This is a
separate step because the operator may create Secrets but not read them: afterwards the kubelet passes it the value.

It makes one request with the standard library: importing a Kubernetes client would take longer than everything else.
"""

import json
import os
import secrets
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path

SECRET = "trainyard-operator-key"
FIELD = "key"
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT = 15.0
CONFLICT = 409


class KeyNotCreatedError(RuntimeError):
    """The API server refused; the message is its own."""


def ensure(server: str, account: Path, namespace: str) -> bool:
    """Create the Secret with a random key of 64 hex digits. Returns False and changes nothing if it exists already.

    `server` is the API server's URL, `account` a folder with `token` and `ca.crt`, as Kubernetes mounts it.
    """
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "labels": {"app.kubernetes.io/part-of": "trainyard"}},
        "stringData": {FIELD: secrets.token_hex(32)},
        "immutable": True,
    }
    request = urllib.request.Request(
        f"{server}/api/v1/namespaces/{namespace}/secrets",
        data=json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {(account / 'token').read_text().strip()}",
            "Content-Type": "application/json",
        },
    )
    trusted = ssl.create_default_context(cafile=str(account / "ca.crt"))
    try:
        urllib.request.urlopen(request, timeout=TIMEOUT, context=trusted).close()
    except urllib.error.HTTPError as error:
        if error.code == CONFLICT:
            return False
        raise KeyNotCreatedError(
            f"Secret {namespace}/{SECRET} could not be created: {error.code} {_message(error)}"
        ) from error
    return True


def main() -> int:
    names = ("TRAINYARD_OPERATOR_NAMESPACE", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT")
    if missing := [name for name in names if not os.environ.get(name)]:
        print(f"{', '.join(missing)} missing: this runs in a pod of the operator", file=sys.stderr)
        return 1
    namespace, host, port = (os.environ[name] for name in names)
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    try:
        created = ensure(server, SERVICE_ACCOUNT, namespace)
    except (KeyNotCreatedError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{'created' if created else 'kept'} the operator's key, Secret {namespace}/{SECRET}")
    return 0


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read())["message"])
    except (ValueError, KeyError):
        return str(error.reason)


if __name__ == "__main__":
    raise SystemExit(main())
