"""What docker is asked for, and what is said when it cannot."""

import subprocess
from pathlib import Path

import pytest

from dev.cluster import paths
from dev.cluster.errors import MissingPrerequisite
from dev.cluster.images import Docker, source_revision


def test_a_build_with_docker_takes_base_image_and_torch_index_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in Docker.BUILD_ARGUMENTS:
        monkeypatch.delenv(name, raising=False)
    revision = f"--build-arg=GIT_REVISION={source_revision()}"
    plain = ["docker", "buildx", "build", "--load", "--provenance=false", "--target=operator", revision, "--tag=x:1"]
    assert Docker().build_command("operator", "x:1") == [*plain, paths.REPOSITORY]
    monkeypatch.setenv("BASE_IMAGE", "mirror.example/python:3.11")
    monkeypatch.setenv("TORCH_INDEX", "https://index.example/cpu")
    given = {word for word in Docker().build_command("operator", "x:1") if str(word).startswith("--build-arg")}
    assert given == {
        revision,
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


def test_an_image_knows_the_commit_that_it_was_built_from(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        done = subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    assert source_revision(tmp_path) == ""
    git("init", "--quiet")
    (tmp_path / "code.py").write_text("a = 1\n")
    git("add", "code.py")
    git("commit", "--quiet", "--message=one")
    commit = git("rev-parse", "HEAD")
    assert source_revision(tmp_path) == commit
    (tmp_path / "code.py").write_text("a = 2\n")
    assert source_revision(tmp_path) == f"{commit}+changed"
