"""Images of buildah's store as containerd gets them: names, order and contents, without a copy."""

import base64
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from dev.cluster.errors import ClusterError
from dev.cluster.node.imagestore import archive, chain_ids, read, upper_folder

LOWEST, MIDDLE = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def stored(tmp_path: Path) -> str:
    """A store with one image of two layers, as containers/storage lays it out; returns the image's id."""
    config = json.dumps({"rootfs": {"diff_ids": [LOWEST, MIDDLE]}}).encode()
    image_id = digest(config)
    folder = tmp_path / "overlay-images" / image_id
    folder.mkdir(parents=True)
    (tmp_path / "overlay-layers").mkdir()
    (folder / "manifest").write_text('{"layers": []}')
    (folder / ("=" + base64.b64encode(f"sha256:{image_id}".encode()).decode())).write_bytes(config)
    (tmp_path / "overlay-images" / "images.json").write_text(json.dumps([{"id": image_id, "layer": "b"}]))
    layers = [{"id": "b", "parent": "a", "diff-digest": MIDDLE}, {"id": "a", "diff-digest": LOWEST}]
    (tmp_path / "overlay-layers" / "layers.json").write_text(json.dumps(layers))
    return image_id


def test_layers_are_read_from_the_lowest_up(tmp_path: Path, stored: str) -> None:
    image = read(tmp_path, stored)
    assert [layer.diff_id for layer in image.layers] == [LOWEST, MIDDLE]
    assert [layer.files for layer in image.layers] == [tmp_path / "overlay" / name / "diff" for name in "ab"]


def test_a_store_whose_layers_are_not_those_of_the_configuration_is_refused(tmp_path: Path, stored: str) -> None:
    path = tmp_path / "overlay-layers" / "layers.json"
    path.write_text(path.read_text().replace("1" * 64, "3" * 64))
    with pytest.raises(ClusterError, match=stored):
        read(tmp_path, stored)


def test_a_stack_of_layers_is_named_as_the_image_specification_says() -> None:
    two = f"sha256:{digest(f'{LOWEST} {MIDDLE}'.encode())}"
    three = f"sha256:{digest(f'{two} {LOWEST}'.encode())}"
    assert chain_ids([LOWEST, MIDDLE, LOWEST]) == [LOWEST, two, three]


def test_what_containerd_imports_has_the_image_s_name_and_no_layer(tmp_path: Path, stored: str) -> None:
    image = read(tmp_path, stored)
    with tarfile.open(fileobj=io.BytesIO(archive(image, "trainyard.local/x:1"))) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    (descriptor,) = json.loads(files.pop("index.json"))["manifests"]
    assert descriptor["annotations"]["io.containerd.image.name"] == "trainyard.local/x:1"
    assert descriptor["digest"] == f"sha256:{digest(image.manifest)}"
    assert descriptor["size"] == len(image.manifest)
    blobs = {f"blobs/sha256/{digest(blob)}": blob for blob in (image.manifest, image.config)}
    assert files == {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', **blobs}


@pytest.mark.parametrize(
    ("mounts", "folder"),
    [
        ("mount -t bind /c/snapshots/1/fs /mnt -o rw,rbind\n", "/c/snapshots/1/fs"),
        ("mount -t overlay overlay /mnt -o index=off,workdir=/c/2/work,upperdir=/c/2/fs,lowerdir=/c/1/fs\n", "/c/2/fs"),
    ],
    ids=["lowest", "above another"],
)
def test_a_layer_s_files_go_where_the_unfinished_snapshot_has_them(mounts: str, folder: str) -> None:
    assert upper_folder(mounts) == Path(folder)
