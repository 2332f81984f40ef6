"""This machine as a single real node: programs from pinned Go modules, containerd and friends from Debian."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dev.cluster import binaries, kuberay, paths, prerequisites, storage, waiting
from dev.cluster.certs import Authority
from dev.cluster.commands import run, succeeds
from dev.cluster.errors import ClusterError
from dev.cluster.images import CODE, LOCAL, Buildah, Images, references
from dev.cluster.kubectl import Kubectl
from dev.cluster.node import configuration, dns, forecast, imagestore, kubelet, runtime, system
from dev.cluster.node.layout import NODE_NAME, RUN, SOCKET, Layout
from dev.cluster.ports import LOOPBACK
from dev.cluster.processes import Processes
from dev.cluster.steps import STEPS

PROGRAMS = (
    "kube-apiserver",
    "etcd",
    "kubectl",
    "kube-controller-manager",
    "kubelet",
    "kube-scheduler",
    "kube-proxy",
    "ray-operator",
    "coredns",
    "helm",
)
NODE_SECONDS = 90.0
AGENTS = ("kuberay", "kubelet", "kube-proxy", "kube-scheduler", "kube-controller-manager", "coredns")
"""Ended first on the way down: they would start again what is removed."""


class Node:
    """Every long-running program is a recorded process of this machine; its data is in the state folder."""

    name = "node"

    def up(self) -> None:
        if os.geteuid() != 0:
            raise ClusterError("the single-node provider needs root (it runs containerd and the kubelet)")
        prerequisites.ensure()
        if Layout.recorded() is None:
            _refuse_second_node()
        STEPS.say(f"    {forecast.sentence(forecast.missing(PROGRAMS), os.cpu_count() or 1)}")
        layout = Layout.choose()
        system.record_kernel_settings(layout)
        system.forward_packets()
        processes = self._processes()
        processes.forget_ended()
        self._start_runtime(layout, processes)
        # Programs need the processor and image layers the network and the disk: both at once.
        with ThreadPoolExecutor(2) as threads:
            images = threads.submit(self._prepare_images)
            cluster = threads.submit(self._start_cluster, layout, processes)
            images.result()
            cluster.result()
        processes.check()

    def down(self) -> None:
        layout = Layout.recorded()
        if layout is None:
            STEPS.say("    no node is up")
            return
        prerequisites.extend_path()
        processes = self._processes()
        with STEPS.step("ending the node's processes"):
            processes.stop(*AGENTS)
            self._remove_containers()
            processes.stop(*processes.names())
            system.end_shims()
            system.end_cgroup_processes()
        with STEPS.step("removing mounts, cgroups, network devices, rules and files"):
            Buildah().release()
            system.unmount([layout.folder, RUN, paths.cache() / "containers"])
            system.remove_cgroups()
            system.remove_devices()
            system.remove_rules()
            system.restore_kernel_settings(layout)
            system.remove_files(layout)
        STEPS.say(f"    kept: built programs and images in {paths.cache()}, results in {self._results()}")

    def kubeconfig(self) -> Path | None:
        layout = Layout.recorded()
        return layout.plane.admin_kubeconfig if layout and layout.plane.admin_kubeconfig.exists() else None

    def publish(self) -> Images:
        if Layout.recorded() is None or not self._processes().is_running("containerd"):
            raise ClusterError("no node is up: python -m dev.cluster up")
        images = references(LOCAL)
        for target, reference in zip(CODE, images.all(), strict=True):
            if not imagestore.has(reference):
                with STEPS.step(f"building {reference}"):
                    image_id = Buildah().build(target, reference)
                self._add(image_id, reference)
        return images

    def describe(self) -> list[str]:
        processes = self._processes()
        return [f"{name}: {'running' if processes.is_running(name) else 'ENDED'}" for name in processes.names()]

    # -- the way up

    def _start_cluster(self, layout: Layout, processes: Processes) -> None:
        binaries.ensure_all(PROGRAMS)
        if not layout.plane.admin_kubeconfig.exists():
            self._make_certificates(layout)
        self._start_control_plane(layout, processes)
        self._start_node(layout, processes)
        kubectl = Kubectl(layout.plane.admin_kubeconfig)
        self._start_add_ons(layout, processes, kubectl)
        self._wait_for_node(processes, kubectl)

    def _prepare_images(self) -> None:
        """Everything below the code, ready on the node: what a deployment adds later is small."""
        builder = Buildah()
        self._add(builder.base(), builder.base_reference())
        for target in CODE:
            self._add(builder.dependencies(target), builder.dependencies_reference(target))

    @staticmethod
    def _make_certificates(layout: Layout) -> None:
        with STEPS.step("making certificates"):
            plane = layout.plane
            authority: Authority = plane.prepare()
            authority.issue("kubelet", NODE_NAME, hosts=[layout.address, NODE_NAME])
            plane.client(authority, "kubelet.kubeconfig", f"system:node:{NODE_NAME}", groups=["system:nodes"])
            plane.client(authority, "scheduler.kubeconfig", "system:kube-scheduler")
            plane.client(authority, "proxy.kubeconfig", "system:kube-proxy")

    @staticmethod
    def _start_control_plane(layout: Layout, processes: Processes) -> None:
        plane = layout.plane
        with STEPS.step("starting etcd and the API server"):
            processes.ensure("etcd", [binaries.ensure("etcd"), *plane.etcd()])
            processes.ensure("kube-apiserver", [binaries.ensure("kube-apiserver"), *plane.api_server()])
            waiting.until(plane.is_ready, "the API server", seconds=60, check=processes.check)
        manager = plane.controller_manager(layout.ports["controller_manager"])
        processes.ensure("kube-controller-manager", [binaries.ensure("kube-controller-manager"), *manager])
        config = layout.folder / "scheduler.kubeconfig"
        processes.ensure(
            "kube-scheduler",
            [
                binaries.ensure("kube-scheduler"),
                f"--kubeconfig={config}",
                f"--authentication-kubeconfig={config}",
                f"--authorization-kubeconfig={config}",
                f"--bind-address={LOOPBACK}",
                f"--secure-port={layout.ports['scheduler']}",
                f"--cert-dir={plane.certificates}",
                "--leader-elect=false",
            ],
        )

    @staticmethod
    def _start_runtime(layout: Layout, processes: Processes) -> None:
        with STEPS.step("starting containerd"):
            RUN.mkdir(exist_ok=True)
            config = runtime.write_config(layout, Buildah().base_reference())
            processes.ensure("containerd", ["containerd", f"--config={config}"])
            answers = [*imagestore.CTR, "version"]
            waiting.until(lambda: succeeds(answers), "containerd", seconds=30, check=processes.check)

    @staticmethod
    def _start_node(layout: Layout, processes: Processes) -> None:
        with STEPS.step("starting the kubelet and kube-proxy"):
            resolv_conf = dns.pod_resolv_conf(dns.RESOLV_CONF.read_text(), layout.address)
            (layout.folder / "resolv.conf").write_text(resolv_conf)
            config = configuration.write(layout.folder, "kubelet", kubelet.kubelet_config(layout))
            flags = kubelet.kubelet_flags(layout, config)
            processes.ensure("kubelet", [binaries.ensure("kubelet"), *flags])
            proxy = configuration.write(layout.folder, "kube-proxy", kubelet.proxy_config(layout))
            processes.ensure("kube-proxy", [binaries.ensure("kube-proxy"), f"--config={proxy}"])

    def _start_add_ons(self, layout: Layout, processes: Processes, kubectl: Kubectl) -> None:
        with STEPS.step("starting the name server, KubeRay and storage"):
            corefile = configuration.write(layout.folder, "corefile", dns.corefile(layout))
            processes.ensure("coredns", [binaries.ensure("coredns"), "-conf", corefile])
            kubectl.apply(dns.service(layout))
            kuberay.install_definitions(kubectl)
            environment = {"KUBECONFIG": str(kubectl.kubeconfig)}
            processes.ensure("kuberay", kuberay.host_process(layout.ports["kuberay_metrics"]), environment)
            self._results().mkdir(parents=True, exist_ok=True)
            self._results().chmod(0o777)
            storage.provide(kubectl, str(self._results()))

    @staticmethod
    def _wait_for_node(processes: Processes, kubectl: Kubectl) -> None:
        def ready() -> bool:
            path = "{.items[*].status.conditions[?(@.type=='Ready')].status}"
            return kubectl("get", "nodes", f"--output=jsonpath={path}").strip() == "True"

        with STEPS.step("waiting for the node to be Ready"):
            waiting.until(ready, "the node", seconds=NODE_SECONDS, check=processes.check)
            waiting.until(
                lambda: kubectl.exists("serviceaccount", "default", "--namespace=default"),
                "the default service account",
                seconds=30,
                check=processes.check,
            )

    @staticmethod
    def _add(image_id: str, reference: str) -> None:
        """An image that buildah has made becomes one that pods can run."""
        with STEPS.step(f"making {reference} known to the node"):
            imagestore.add(imagestore.read(Buildah().store, image_id), reference)

    # -- the way down

    @staticmethod
    def _remove_containers() -> None:
        """Kill every container of the node; the image store stays."""
        if not succeeds([*imagestore.CTR, "version"]):
            return
        for task in run([*imagestore.CTR, "tasks", "list", "--quiet"]).split():
            succeeds([*imagestore.CTR, "tasks", "delete", "--force", task])
        for container in run([*imagestore.CTR, "containers", "list", "--quiet"]).split():
            run([*imagestore.CTR, "containers", "delete", container])

    @staticmethod
    def _processes() -> Processes:
        return Processes(paths.state() / "processes", paths.state() / "logs")

    @staticmethod
    def _results() -> Path:
        return paths.cache() / "results"


def _refuse_second_node() -> None:
    """One node per machine: cgroups, the bridge and the service network are the machine's."""
    if succeeds(["ctr", f"--address={SOCKET}", "version"]):
        raise ClusterError(
            "a node with another cache folder runs on this machine: set TRAINYARD_CACHE as it was set for that one, "
            "or take it down first"
        )
    if system.pods_are_running():
        raise ClusterError(
            "another kubelet runs pods on this machine (see the kubepods cgroup): use its cluster with "
            "TRAINYARD_KUBECONFIG=FILE, or end it first"
        )
