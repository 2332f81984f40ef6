"""A real API server for tests: etcd and kube-apiserver on free loopback ports, nothing else needed, no root.

with ApiServer() as server:
    server.apply(Path("manifests/crd"))
    ... server.kubeconfig ...
"""

import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from dev.cluster import binaries, ports, waiting
from dev.cluster.commands import TAIL_CHARACTERS, run
from dev.cluster.controlplane import ControlPlane
from dev.cluster.errors import ClusterError

START_SECONDS = 60.0
STOP_SECONDS = 10.0


class ApiServer:
    """Starts on `start()` or `with`, and removes its processes and files on `stop()`.

    `controllers=True` adds the controller manager: garbage collection by owner references, service accounts,
    namespaces that finish terminating. `folder` receives data and logs (default: a temporary one).
    """

    def __init__(self, *, controllers: bool = False, folder: Path | None = None) -> None:
        self._controllers = controllers
        self._temporary = folder is None
        self.folder = Path(tempfile.mkdtemp(prefix="trainyard-apiserver-")) if folder is None else folder
        self.plane = ControlPlane(
            folder=self.folder,
            address=ports.LOOPBACK,
            api_port=ports.any_free(),
            etcd_port=ports.any_free(),
            etcd_peer_port=ports.any_free(),
        )
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.plane.admin_kubeconfig

    def user(self, name: str, *groups: str) -> Path:
        """The kubeconfig of another user, who has no rights until some are granted."""
        return self.plane.client(self._authority, f"{name.replace(':', '-')}.kubeconfig", name, groups=groups)

    def start(self) -> Self:
        assets = binaries.assets()
        self._kubectl = assets / "kubectl"
        self._authority = self.plane.prepare()
        try:
            self._run("etcd", assets / "etcd", self.plane.etcd())
            self._run("kube-apiserver", assets / "kube-apiserver", self.plane.api_server())
            waiting.until(self.plane.is_ready, "the API server", seconds=START_SECONDS, check=self._check)
            if self._controllers:
                program = binaries.ensure("kube-controller-manager")
                arguments = self.plane.controller_manager(ports.any_free())
                self._run("kube-controller-manager", program, arguments)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End every process, the last started first, and remove the temporary folder."""
        while self._processes:
            _, process = self._processes.popitem()
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def kubectl(self, *arguments: str | Path, stdin: str | None = None) -> str:
        """Standard output of kubectl as the administrator; CommandFailed when it fails."""
        return run([self._kubectl, f"--kubeconfig={self.kubeconfig}", *arguments], stdin=stdin)

    def apply(self, *files: Path) -> None:
        """Apply files or folders server-side and wait until every CRD among them is served."""
        sources = [word for file in files for word in ("--filename", file)]
        self.kubectl("apply", "--server-side", "--force-conflicts", *sources)
        if self.kubectl("get", "customresourcedefinitions", "--output=name").strip():
            self.kubectl("wait", "customresourcedefinitions", "--all", "--for=condition=Established", "--timeout=30s")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self, name: str, program: Path, arguments: list[str]) -> None:
        with (self.folder / f"{name}.log").open("w") as log:
            self._processes[name] = subprocess.Popen(
                [program, *arguments], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def _check(self) -> None:
        """Raise with the end of its log when a process has ended."""
        for name, process in self._processes.items():
            if (code := process.poll()) is not None:
                log = (self.folder / f"{name}.log").read_text(errors="replace")
                raise ClusterError(f"{name} ended with exit code {code}:\n{log[-TAIL_CHARACTERS:]}")
