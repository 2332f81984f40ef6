"""The two images: named by their content, built by docker buildx or by buildah from the one Dockerfile."""

import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dev.cluster import paths
from dev.cluster.commands import run, succeeds
from dev.cluster.errors import MissingPrerequisite
from dev.cluster.locks import exclusive
from dev.cluster.steps import STEPS

OPERATOR = "operator"
TRAINING = "training"
CODE = {OPERATOR: Path("operator/trainyard_operator"), TRAINING: Path("training_image/trainyard")}
"""Target of the Dockerfile -> the code folder that it copies."""

COMMON_INPUTS = (".dockerignore", "Dockerfile", "pyproject.toml", "constraints.txt", "dev/image/requirements.py")
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
LOCAL = "trainyard.local/"
"""What images of a cluster without a registry are called: the prefix is no host, nothing is ever pulled from it."""

UV_CACHE = "/var/cache/uv"
"""Where an image build finds this machine's cache of Python packages: what `make venv` fetched is not fetched again."""


@dataclass(frozen=True)
class Images:
    """The references that the cluster pulls."""

    operator: str
    training: str

    def all(self) -> tuple[str, str]:
        return (self.operator, self.training)


def content_tag(root: Path, files: Iterable[Path]) -> str:
    """Twelve hexadecimal digits of the files' names and contents, in any order; a missing file counts as empty."""
    digest = hashlib.sha256()
    for file in sorted(set(files)):
        content = (root / file).read_bytes() if (root / file).exists() else b""
        for part in (file.as_posix().encode(), content):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:12]


def inputs(target: str, root: Path = paths.REPOSITORY) -> list[Path]:
    """Every file that goes into the image of `target`, relative to the repository."""
    code = (path.relative_to(root) for path in (root / CODE[target]).rglob("*") if path.is_file())
    return [*map(Path, COMMON_INPUTS), *(path for path in code if "__pycache__" not in path.parts)]


def references(prefix: str) -> Images:
    """What the images of the working tree are called below `prefix` (a registry, or a name)."""
    names = {target: f"{prefix}trainyard-{target}:{content_tag(paths.REPOSITORY, inputs(target))}" for target in CODE}
    return Images(operator=names[OPERATOR], training=names[TRAINING])


def source_revision(root: Path = paths.REPOSITORY) -> str:
    """The commit that the code is of, with "+changed" where tracked files differ; empty outside a git checkout."""
    git = ["git", "-C", root]
    if not succeeds([*git, "rev-parse", "--verify", "HEAD"]):
        return ""
    changed = run([*git, "status", "--porcelain", "--untracked-files=no"]).strip()
    return run([*git, "rev-parse", "HEAD"]).strip() + ("+changed" if changed else "")


@dataclass(frozen=True)
class Buildah:
    """buildah with a store of its own in the cache; the base image comes from this machine's Debian mirror."""

    @property
    def store(self) -> Path:
        """The folder of images and layers, in the format of containers/storage."""
        return paths.cache() / "containers" / "storage"

    def build(self, target: str, reference: str) -> str:
        """Build the image under that name; returns its id."""
        self._bud(target, reference)
        return self._id(reference)

    def has(self, reference: str) -> bool:
        """Whether an image of that name was built."""
        return bool(run([*self._buildah(), "images", "--quiet", "--filter", f"reference={reference}"]).strip())

    def base_reference(self) -> str:
        """What the base image is called; the sandbox of every pod runs it."""
        return f"{LOCAL}trainyard-base:{self._suite()}"

    def base(self) -> str:
        """The base image, made once with debootstrap; returns its id."""
        reference = self.base_reference()
        with exclusive(paths.cache() / "locks" / "base-image.lock"):
            if not self.has(reference):
                self._make_base(reference)
        return self._id(reference)

    def dependencies(self, target: str) -> str:
        """Build (or find cached) the large layer below the code, which depends on pyproject.toml's extras alone.

        Returns the image's id.
        """
        with STEPS.step(f"image layer of the {target} dependencies (cached while pyproject's extras stay)"):
            return self.build(f"{target}-dependencies", self.dependencies_reference(target))

    def dependencies_reference(self, target: str) -> str:
        return f"{LOCAL}trainyard-{target}-dependencies:latest"

    def release(self) -> None:
        """Remove working containers that an interrupted build has left mounted; images and cached layers stay."""
        with exclusive(paths.cache() / "locks" / "image-build.lock"):
            run([*self._buildah(), "rm", "--all"])

    def _bud(self, target: str, reference: str) -> None:
        base = self.base()
        index = os.environ.get("TORCH_INDEX")
        packages = uv_cache()
        packages.mkdir(parents=True, exist_ok=True)
        with exclusive(paths.cache() / "locks" / "image-build.lock"):
            run(
                [
                    *self._buildah(),
                    "bud",
                    "--isolation=chroot",
                    "--layers",
                    f"--target={target}",
                    f"--build-arg=BASE_IMAGE={base}",
                    *([f"--build-arg=TORCH_INDEX={index}"] if index else []),
                    f"--build-arg=GIT_REVISION={source_revision()}",
                    f"--build-arg=UV_OPTIONS=--cache-dir={UV_CACHE} --link-mode=copy",
                    f"--volume={packages}:{UV_CACHE}",
                    *([f"--volume={CA_BUNDLE}:{CA_BUNDLE}:ro"] if CA_BUNDLE.exists() else []),
                    f"--tag={reference}",
                    paths.REPOSITORY,
                ],
                log=paths.cache() / "logs" / f"image-{target}.log",
            )

    def _make_base(self, reference: str) -> None:
        suite = self._suite()
        packages = "ca-certificates,python3,python3-pip,python3-venv,tini,procps"
        paths.cache().mkdir(parents=True, exist_ok=True)
        with (
            STEPS.step(f"making the images' base from Debian packages ({suite}, once)"),
            tempfile.TemporaryDirectory(dir=paths.cache()) as folder,
        ):
            archive = Path(folder) / "root.tar"
            with _in_memory(Path(folder) / "root") as root:
                run(
                    ["debootstrap", "--variant=minbase", f"--include={packages}", suite, root, debian_mirror(suite)],
                    log=paths.cache() / "logs" / "debootstrap.log",
                )
                for leftover in ("var/cache/apt/archives", "var/lib/apt/lists"):
                    shutil.rmtree(root / leftover)
                    (root / leftover).mkdir()
                run(["tar", "--directory", root, "--create", "--file", archive, "."])
            self._commit(archive, reference)

    def _commit(self, archive: Path, reference: str) -> None:
        container = run([*self._buildah(), "from", "scratch"]).strip()
        run([*self._buildah(), "add", "--quiet", container, archive, "/"])
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        run([*self._buildah(), "config", "--cmd", '["sleep","infinity"]', "--env", path, container])
        run([*self._buildah(), "commit", "--quiet", "--rm", container, reference])

    def _id(self, reference: str) -> str:
        answer = run([*self._buildah(), "images", "--quiet", "--no-trunc", reference])
        return answer.strip().removeprefix("sha256:")

    def _buildah(self) -> list[str]:
        run_folder = paths.cache() / "containers" / "run"
        return ["buildah", f"--root={self.store}", f"--runroot={run_folder}", "--storage-driver=overlay"]

    @staticmethod
    def _suite() -> str:
        return platform.freedesktop_os_release().get("VERSION_CODENAME", "bookworm")


@dataclass(frozen=True)
class Docker:
    """docker buildx; images land in Docker's own store."""

    BUILD_ARGUMENTS = ("BASE_IMAGE", "TORCH_INDEX")
    """The Dockerfile's arguments: environment variables of the same names set them."""

    def build(self, target: str, reference: str) -> None:
        if not succeeds(["docker", "buildx", "version"]):
            raise MissingPrerequisite(
                "docker has no buildx: install docker-buildx-plugin (Docker's packages) or docker-buildx (Debian's)"
            )
        run(self.build_command(target, reference), log=paths.cache() / "logs" / f"image-{target}.log")

    def build_command(self, target: str, reference: str) -> list[str | Path]:
        # With provenance, Docker's containerd store makes an index that is new after every build, cached or not.
        given = [f"--build-arg={name}={os.environ[name]}" for name in self.BUILD_ARGUMENTS if os.environ.get(name)]
        given.append(f"--build-arg=GIT_REVISION={source_revision()}")
        options = ["--load", "--provenance=false", f"--target={target}", *given, f"--tag={reference}"]
        return ["docker", "buildx", "build", *options, paths.REPOSITORY]

    def push(self, reference: str) -> None:
        run(["docker", "push", reference])


def uv_cache() -> Path:
    """The folder where uv keeps packages on this machine."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("UV_CACHE_DIR") or caches / "uv").expanduser().absolute()


@contextmanager
def _in_memory(folder: Path) -> Iterator[Path]:
    """A folder in memory: dpkg waits for the disk after every file, for nothing where the folder is thrown away."""
    folder.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=2g,mode=0755", "trainyard-base", folder])
    try:
        yield folder
    finally:
        run(["umount", folder])


def debian_mirror(suite: str) -> str:
    """The package mirror that apt on this machine uses for `suite`."""
    form = "$(SITE) $(RELEASE)"
    for line in run(["apt-get", "indextargets", "--format", form, "Created-By: Packages"]).splitlines():
        site, _, release = line.partition(" ")
        if release == suite:
            return site
    raise MissingPrerequisite(f"apt has no package source for {suite}: add one to /etc/apt/sources.list")
