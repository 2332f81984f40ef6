"""What docker is asked for, and what is said when it cannot."""

from pathlib import Path

import pytest

from dev.cluster import paths
from dev.cluster.errors import MissingPrerequisite
from dev.cluster.images import Docker


def test_a_build_with_docker_takes_base_image_and_torch_index_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in Docker.BUILD_ARGUMENTS:
        monkeypatch.delenv(name, raising=False)
    plain = ["docker", "buildx", "build", "--load", "--provenance=false", "--target=operator", "--tag=x:1"]
    assert Docker().build_command("operator", "x:1") == [*plain, paths.REPOSITORY]
    monkeypatch.setenv("BASE_IMAGE", "mirror.example/python:3.11")
    monkeypatch.setenv("TORCH_INDEX", "https://index.example/cpu")
    given = {word for word in Docker().build_command("operator", "x:1") if str(word).startswith("--build-arg")}
    assert given == {
        "--build-arg=BASE_IMAGE=mirror.example/python:3.11",
        "--build-arg=TORCH_INDEX=https://index.example/cpu",
    }


def test_a_docker_without_buildx_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\necho 'docker: unknown command: docker buildx' >&2\nexit 1\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingPrerequisite, match="docker-buildx"):
        Docker().build("operator", "x:1")
