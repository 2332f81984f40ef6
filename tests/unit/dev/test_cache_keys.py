"""What is rebuilt when: a key changes with its inputs and with nothing else."""

from pathlib import Path

from dev.cluster.binaries import TOOLS, cache_key
from dev.cluster.images import content_tag

LINUX = "Linux-x86_64"


def test_a_binary_is_rebuilt_when_a_pinned_version_or_the_platform_changes() -> None:
    helm = TOOLS["helm"]
    key = cache_key(helm, [b"mod", b"sum"], LINUX)
    assert key == cache_key(helm, [b"mod", b"sum"], LINUX)
    others = {
        cache_key(helm, [b"mod2", b"sum"], LINUX),
        cache_key(helm, [b"mod", b"sum"], "Darwin-arm64"),
        cache_key(TOOLS["coredns"], [b"mod", b"sum"], LINUX),
        cache_key(helm, [b"mo", b"dsum"], LINUX),
    }
    assert len(others | {key}) == 5


def test_an_image_tag_follows_content_and_names_and_not_order(tmp_path: Path) -> None:
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(name)
    tag = content_tag(tmp_path, [Path("a.py"), Path("b.py")])
    assert tag == content_tag(tmp_path, [Path("b.py"), Path("a.py")])
    (tmp_path / "b.py").write_text("changed")
    assert tag != content_tag(tmp_path, [Path("a.py"), Path("b.py")])
    assert content_tag(tmp_path, [Path("absent.txt")]) == content_tag(tmp_path, [Path("absent.txt")])
