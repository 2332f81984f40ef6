"""The operator's settings: from flags, TRAINYARD_OPERATOR_* variables or defaults. All faults are reported at once."""

import argparse
import json
import math
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from trainyard_operator import quantity
from trainyard_operator.building.sizing import SizingRules

PREFIX = "TRAINYARD_OPERATOR_"
MIN_KEY_BYTES = 16


class SettingsError(ValueError):
    """One line for each setting that is wrong or missing."""


class DashboardAccess(StrEnum):
    """How the operator reaches the heads' dashboards."""

    SERVICE = "Service"
    """Through each head's Service: inside the cluster."""
    API_PROXY = "ApiProxy"
    """Through the API server's proxy: from a laptop; needs services/proxy."""


@dataclass(frozen=True)
class TrainingDefaults:
    """Values for fields that a TrainingRun leaves out. `storage` is like spec.storage; None: checkpoints are lost."""

    image: str
    ray_version: str = "2.60.0"
    image_pull_policy: str | None = None
    storage: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Timing:
    """Seconds. A running job is polled every `poll` or more often; with more than `poll_budget` jobs less often.

    A head that has not answered within `slow_start`, or that has become silent, is asked less often: a request
    without an answer keeps a place in its namespace's share for `dashboard_timeout`. `poll_existing` is the interval
    for an existing RayCluster while no job of the run is running there. The operator gives up stopping a job on such a
    cluster after `stop_wait`. A head is lost after `dashboard_lost` of silence, if this process has itself seen
    the last `own_silence` of it. Before a suspension, a job whose state is unknown is asked for `last_word`. After
    `watch_check` without an event, the operator checks whether a watch has missed something.
    """

    poll: float = 1.0
    poll_budget: int = 100
    poll_starting: float = 0.3
    poll_slow_start: float = 2.0
    slow_start: float = 60.0
    poll_silent: float = 5.0
    poll_existing: float = 2.0
    poll_stopping: float = 1.0
    stop_wait: float = 120.0
    progress_writes: float = 10.0
    log_reads: float = 5.0
    dashboard_lost: float = 300.0
    own_silence: float = 30.0
    dashboard_timeout: float = 5.0
    last_word: float = 10.0
    results_wait: float = 30.0
    retry_base: float = 5.0
    retry_max: float = 300.0
    relist: float = 180.0
    watch_check: float = 20.0
    kuberay_probe: float = 15.0
    request_timeout: float = 15.0


@dataclass(frozen=True)
class LeaseSettings:
    """Seconds. Writes stop when the last renewal is older than half of `duration`; one renewal may take `request`."""

    name: str = "trainyard-operator"
    duration: float = 15.0
    renew: float = 2.0
    request: float = 5.0


@dataclass(frozen=True)
class Settings:
    """Empty `namespaces`: all. `namespace` is the operator's own, with its Lease. Tokens are derived from `key`."""

    namespace: str
    key: bytes = field(repr=False)
    training: TrainingDefaults
    identity: str = ""
    namespaces: tuple[str, ...] = ()
    dashboard_access: DashboardAccess = DashboardAccess.SERVICE
    dashboard_url: str | None = None
    http_host: str = "0.0.0.0"
    http_port: int = 8080
    workers: int = 32
    log_level: str = "INFO"
    sizing: SizingRules = field(default_factory=SizingRules)
    timing: Timing = field(default_factory=Timing)
    lease: LeaseSettings = field(default_factory=LeaseSettings)


@dataclass(frozen=True)
class _Option:
    flag: str
    help: str
    convert: Callable[[str], Any] = str
    required: bool = False

    @property
    def variable(self) -> str:
        return PREFIX + self.flag.upper().replace("-", "_")


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ValueError("must be a number, 0 or more")
    return value


def _positive(text: str) -> float:
    value = _number(text)
    if value == 0:
        raise ValueError("must be more than 0")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise ValueError("must be a whole number, 1 or more")
    return int(text)


def _access(text: str) -> DashboardAccess:
    if text not in tuple(DashboardAccess):
        raise ValueError(f"must be {' or '.join(DashboardAccess)}")
    return DashboardAccess(text)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _object(text: str) -> Mapping[str, Any] | None:
    if not text.strip():
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"must be a JSON object, as spec.storage: {error}") from error
    if not isinstance(value, dict):
        raise ValueError("must be a JSON object, as spec.storage")
    return value or None


def _level(text: str) -> str:
    if text.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ValueError("must be debug, info, warning or error")
    return text.upper()


def _key(text: str) -> bytes:
    key = text.strip().encode()
    if len(key) < MIN_KEY_BYTES:
        raise ValueError(f"must have at least {MIN_KEY_BYTES} characters")
    return key


def _key_file(text: str) -> bytes:
    return _key(Path(text).read_bytes().decode("latin-1"))


OPTIONS = (
    _Option("namespace", "the operator's own namespace, where its Lease is", required=True),
    _Option("key", "secret from which the clusters' tokens are derived (prefer --key-file)", _key),
    _Option("key-file", "file with that secret", _key_file),
    _Option("training-image", "image of runs without spec.image", required=True),
    _Option("ray-version", "version of Ray in that image (2.60.0)"),
    _Option("image-pull-policy", "imagePullPolicy of runs without one (Kubernetes' own rule)"),
    _Option("default-storage", "JSON like spec.storage, for runs without spec.storage", _object),
    _Option("identity", "name of this replica in the Lease (host name)"),
    _Option("watch-namespaces", "comma-separated namespaces to serve (all)", _names),
    _Option("dashboard-access", "Service inside a cluster, ApiProxy from outside (Service)", _access),
    _Option("dashboard-url", "URL of dashboards with {namespace} and {cluster}, instead of --dashboard-access"),
    _Option("http-host", "address of /metrics, /healthz and /readyz (0.0.0.0)"),
    _Option("http-port", "its port (8080)", _count),
    _Option("workers", "number of runs that are processed at the same time (32)", _count),
    _Option("log-level", "debug, info, warning or error (info)", _level),
    _Option("cpu-request-per-logical-cpu", "cores requested for each of Ray's logical CPUs (0.25)", _number),
    _Option("head-cpu-request", "cores requested for Ray's services on the head (0.25)", _number),
    _Option("pod-max-cpu", "CPUs of the largest pod that nodes can hold (128)", _positive),
    _Option("pod-max-memory", "memory of the largest pod that nodes can hold (512Gi)", quantity.parse),
    _Option("memory-headroom", "factor on the memory figures per process (1.25)", _positive),
    _Option("poll-seconds", "interval of reading a running job's progress (1)", _positive),
    _Option("lease-seconds", "duration of the leader's Lease (15)", _positive),
    _Option("retry-base-seconds", "delay before the first retry; it doubles with every failure (5)", _positive),
    _Option("kuberay-probe-seconds", "interval of looking for KubeRay while it is missing (15)", _positive),
    _Option("watch-check-seconds", "interval of asking a quiet watch whether it has missed something (20)", _positive),
    _Option("relist-seconds", "interval of the full comparison with the API server (180)", _positive),
)


def load(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this process. Raises SettingsError naming every setting that is wrong."""
    values, faults = _values(_parse(arguments), environment)
    if "key" not in values and "key-file" not in values and not any("KEY" in f for f in faults):
        faults.append(
            f"--key-file or {PREFIX}KEY_FILE is missing: a file with a random secret, the same for all replicas"
        )
    if faults:
        raise SettingsError("\n".join(faults))
    return _settings(values)


def _parse(arguments: Sequence[str]) -> Mapping[str, str | None]:
    parser = argparse.ArgumentParser(
        "trainyard-operator",
        description="Controller of TrainingRuns. Every flag is also a TRAINYARD_OPERATOR_* variable.",
    )
    for option in OPTIONS:
        parser.add_argument(f"--{option.flag}", help=f"{option.help} [{option.variable}]")
    return {k.replace("_", "-"): v for k, v in vars(parser.parse_args(arguments)).items()}


def _values(flags: Mapping[str, str | None], environment: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    values: dict[str, Any] = {}
    faults: list[str] = []
    for option in OPTIONS:
        text = flags.get(option.flag)
        text = environment.get(option.variable) if text is None else text
        if text is None or (text == "" and not option.required):
            if option.required:
                faults.append(f"--{option.flag} or {option.variable} is missing: {option.help}")
            continue
        try:
            values[option.flag] = option.convert(text)
        except (ValueError, OSError) as error:
            shown = "" if "key" in option.flag else f" {text!r}"
            faults.append(f"--{option.flag} or {option.variable}{shown}: {error}")
    return values, faults


def _settings(values: Mapping[str, Any]) -> Settings:
    def given(**names: str) -> dict[str, Any]:
        return {name: values[flag] for name, flag in names.items() if flag in values}

    lease = values.get("lease-seconds")
    return Settings(
        namespace=values["namespace"],
        key=values.get("key-file") or values["key"],
        training=TrainingDefaults(
            values["training-image"],
            **given(
                ray_version="ray-version",
                image_pull_policy="image-pull-policy",
                storage="default-storage",
            ),
        ),
        identity=values.get("identity") or socket.gethostname(),
        sizing=SizingRules(
            **given(
                cpu_request_per_logical_cpu="cpu-request-per-logical-cpu",
                head_cpu_request="head-cpu-request",
                pod_max_cpu="pod-max-cpu",
                pod_max_memory="pod-max-memory",
                memory_headroom="memory-headroom",
            )
        ),
        timing=Timing(
            **given(
                poll="poll-seconds",
                retry_base="retry-base-seconds",
                watch_check="watch-check-seconds",
                relist="relist-seconds",
                kuberay_probe="kuberay-probe-seconds",
            )
        ),
        lease=LeaseSettings() if lease is None else LeaseSettings(duration=lease, renew=lease / 7.5, request=lease / 3),
        **given(
            namespaces="watch-namespaces",
            dashboard_access="dashboard-access",
            dashboard_url="dashboard-url",
            http_host="http-host",
            http_port="http-port",
            workers="workers",
            log_level="log-level",
        ),
    )
