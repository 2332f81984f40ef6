"""What the node changes on this machine, and how it is undone: mounts, cgroups, devices, rules, kernel settings."""

import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from dev.cluster.commands import run, succeeds
from dev.cluster.errors import CommandFailed
from dev.cluster.node.layout import BRIDGE, NETWORK, RUN, SOCKET, Layout

CGROUPS = Path("/sys/fs/cgroup")
PODS_CGROUP = "kubepods"
KERNEL_SETTINGS = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
"""Settings that the node, the kubelet or kube-proxy change."""


LEFT_EMPTY = tuple(
    map(
        Path,
        (
            "/var/lib/kubelet/device-plugins",
            "/var/lib/kubelet",
            "/var/lib/cni/results",
            "/run/containerd/runc/k8s.io",
            "/run/containerd/runc",
            "/run/containerd/s",
            "/run/containerd",
        ),
    )
)
"""Folders that the kubelet, the network plugins and containerd's shims make at fixed places."""


def record_kernel_settings(layout: Layout) -> None:
    """Remember the settings as they were before the node; a second call keeps the first record."""
    path = layout.folder / "kernel-settings.json"
    if path.exists():
        return
    values = {name: _setting(name).read_text().strip() for name in KERNEL_SETTINGS if _setting(name).exists()}
    path.write_text(json.dumps(values, indent=1))


def restore_kernel_settings(layout: Layout) -> None:
    with contextlib.suppress(FileNotFoundError):
        for name, value in json.loads((layout.folder / "kernel-settings.json").read_text()).items():
            if _setting(name).read_text().strip() != value:
                _setting(name).write_text(value)


def forward_packets() -> None:
    _setting("net/ipv4/ip_forward").write_text("1")


def _setting(name: str) -> Path:
    return Path("/proc/sys") / name


def mounts_below(folders: Iterable[Path], mounts: str) -> list[str]:
    """Mount points in or at one of the folders, the deepest first; `mounts` is the text of /proc/mounts."""
    points = [line.split()[1].replace("\\040", " ") for line in mounts.splitlines()]
    roots = [str(folder) for folder in folders]
    ours = {point for point in points if any(point == root or point.startswith(f"{root}/") for root in roots)}
    return sorted(ours, key=lambda point: (-point.count("/"), point))


def unmount(folders: Iterable[Path]) -> None:
    """Unmount everything below the folders; what is stacked needs several rounds."""
    folders = list(folders)
    while points := mounts_below(folders, Path("/proc/mounts").read_text()):
        for point in points:
            if not succeeds(["umount", point]):
                run(["umount", "--lazy", point])


def end_cgroup_processes() -> None:
    """Kill what still runs in the pods' cgroups."""
    for _ in range(50):
        pids = {int(pid) for file in _cgroup_folders("cgroup.procs") for pid in file.read_text().split()}
        if not pids:
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def pods_are_running() -> bool:
    """Whether any process is in a pod's cgroup, ours or another kubelet's."""
    return any(file.read_text().strip() for file in _cgroup_folders("cgroup.procs"))


def remove_cgroups() -> None:
    """Remove the pods' cgroups, the deepest first (cgroup folders are removed empty, their files stay)."""
    for root in _cgroup_roots():
        for folder in sorted((path for path in root.rglob("*") if path.is_dir()), key=lambda path: -len(path.parts)):
            folder.rmdir()
        root.rmdir()


def _cgroup_roots() -> list[Path]:
    """/sys/fs/cgroup/kubepods (version 2) or one below each controller (version 1)."""
    return [path for path in (CGROUPS / PODS_CGROUP, *CGROUPS.glob(f"*/{PODS_CGROUP}")) if path.is_dir()]


def _cgroup_folders(file: str) -> list[Path]:
    return [path for root in _cgroup_roots() for path in root.rglob(file)]


def remove_devices() -> None:
    if succeeds(["ip", "link", "show", BRIDGE]):
        run(["ip", "link", "delete", BRIDGE])


def without_our_rules(saved: str) -> str:
    """The output of iptables-save without Kubernetes' chains and without our pod network's rules."""
    ours = {
        word
        for line in saved.splitlines()
        if f'name: \\"{NETWORK}\\"' in line
        for word in line.split()
        if word.startswith("CNI-")
    }
    kept = []
    for line in saved.splitlines():
        words = [word.lstrip(":") for word in line.split()]
        if any(word.startswith("KUBE-") or word in ours for word in words):
            continue
        if f'name: \\"{NETWORK}\\"' in line:
            continue
        kept.append(line)
    return "".join(f"{line}\n" for line in kept)


def remove_rules() -> None:
    """Take our rules out of iptables, for both families; rules of others stay as they are."""
    for family in ("iptables", "ip6tables"):
        try:
            saved = run([f"{family}-save"])
        except CommandFailed:  # no IPv6 in this kernel
            continue
        kept = without_our_rules(saved)
        if kept != saved:
            run([f"{family}-restore"], stdin=kept)


def remove_files(layout: Layout) -> None:
    """Files outside our folders that the kubelet and the network plugins leave."""
    results = Path("/var/lib/cni/results")
    for path in results.glob(f"{NETWORK}-*") if results.is_dir() else []:
        path.unlink()
    links = Path("/var/log/containers")
    for path in links.iterdir() if links.is_dir() else []:
        if path.is_symlink() and str(path.readlink()).startswith(str(layout.folder)):
            path.unlink()
    shutil.rmtree(RUN, ignore_errors=True)
    shutil.rmtree(layout.folder)
    for folder in LEFT_EMPTY:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def end_shims() -> None:
    """End what is left of our containerd's shims: they are known by its socket."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"containerd-shim" in words[0] and str(SOCKET).encode() in words:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(folder.name), signal.SIGKILL)
