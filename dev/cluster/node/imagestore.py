"""Images of buildah's store in containerd's without a copy: the layers are hard links to buildah's files.

What containers/storage keeps on the disk is read here and nowhere else; everything of containerd goes through `ctr`.
"""

import base64
import hashlib
import io
import json
import re
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dev.cluster.commands import run, succeeds
from dev.cluster.errors import ClusterError
from dev.cluster.node.layout import SOCKET

CTR = ("ctr", f"--address={SOCKET}", "--namespace=k8s.io")
"""containerd's own client, in the kubelet's namespace."""

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True)
class StoredLayer:
    """One layer: the digest of its content, and the folder with its files (deleted ones are overlayfs's whiteouts)."""

    diff_id: str
    files: Path


@dataclass(frozen=True)
class StoredImage:
    """An image without its layers' archives: two JSON documents, and the layers from the lowest up."""

    manifest: bytes
    config: bytes
    layers: tuple[StoredLayer, ...]


def read(store: Path, image_id: str) -> StoredImage:
    """The image of that id (64 hexadecimal digits) in a containers/storage folder with the overlay driver."""
    images = {image["id"]: image for image in json.loads((store / "overlay-images" / "images.json").read_text())}
    known = {layer["id"]: layer for layer in json.loads((store / "overlay-layers" / "layers.json").read_text())}
    folder = store / "overlay-images" / image_id
    config = (folder / f"={base64.b64encode(f'sha256:{image_id}'.encode()).decode()}").read_bytes()
    layers: list[StoredLayer] = []
    name = images[image_id]["layer"]
    while name:
        layers.insert(0, StoredLayer(known[name]["diff-digest"], store / "overlay" / name / "diff"))
        name = known[name].get("parent")
    if [layer.diff_id for layer in layers] != json.loads(config)["rootfs"]["diff_ids"]:
        raise ClusterError(f"the layers of image {image_id} in {store} are not those of its configuration")
    return StoredImage((folder / "manifest").read_bytes(), config, tuple(layers))


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """The names of the stacks that end with each layer, as the OCI image specification defines ChainID."""
    chain: list[str] = []
    for diff_id in diff_ids:
        chain.append(_digest(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return chain


def archive(image: StoredImage, reference: str) -> bytes:
    """An OCI layout in a tar file with manifest and configuration; containerd looks for no layer that it has."""
    descriptor = {
        "mediaType": json.loads(image.manifest).get("mediaType", OCI_MANIFEST),
        "digest": _digest(image.manifest),
        "size": len(image.manifest),
        "annotations": {"io.containerd.image.name": reference},
    }
    files = {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [descriptor]}).encode(),
        **{f"blobs/{_digest(blob).replace(':', '/')}": blob for blob in (image.manifest, image.config)},
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def has(reference: str) -> bool:
    """Whether containerd knows the image."""
    return bool(run([*CTR, "images", "list", "--quiet", f"name=={reference}"]).strip())


def add(image: StoredImage, reference: str) -> None:
    """Make the image known to containerd and to the kubelet; layers that are there already are not touched."""
    parent = ""
    for layer, chain in zip(image.layers, chain_ids([layer.diff_id for layer in image.layers]), strict=True):
        if not succeeds([*CTR, "snapshots", "info", chain]):
            _link(layer, parent, chain)
        parent = chain
    done = subprocess.run([*CTR, "images", "import", "-"], input=archive(image, reference), capture_output=True)
    if done.returncode != 0:
        raise ClusterError(f"containerd refused the image {reference}: {done.stderr.decode(errors='replace')}")


def upper_folder(mounts: str) -> Path:
    """Where the files of an unfinished snapshot belong, from the mount command that `ctr snapshots mounts` prints."""
    found = re.search(r"upperdir=([^,\s]+)|mount -t bind (\S+)", mounts)
    if found is None:
        raise ClusterError(f"containerd's snapshot has no folder of its own: {mounts}")
    return Path(found[1] or found[2])


def _link(layer: StoredLayer, parent: str, chain: str) -> None:
    """Make containerd's snapshot of one layer. Neither store ever writes into a layer's files."""
    key = f"linking-{chain}"
    if succeeds([*CTR, "snapshots", "info", key]):  # of an attempt that was interrupted
        run([*CTR, "snapshots", "remove", key])
    run([*CTR, "snapshots", "prepare", key, *([parent] if parent else [])])
    folder = upper_folder(run([*CTR, "snapshots", "mounts", "/mnt", key]))
    run(["cp", "--archive", "--link", f"{layer.files}/.", folder])
    run([*CTR, "snapshots", "commit", chain, key])


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
