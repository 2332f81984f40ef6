"""Split pyproject.toml into what the image layers need: one requirements file per extra, and the metadata.

Runs inside the image build, with the standard library only: `requirements.py PYPROJECT OUTPUT_FOLDER`.
A dependency layer depends on its requirements file alone, so editing anything else in pyproject.toml leaves it cached;
the time stamps are fixed because they count as content.
"""

import os
import sys
import tomllib
from pathlib import Path


def requirements(project: dict, extra: str) -> str:
    """The requirements file of one extra: the distribution's own dependencies and the extra's, one per line."""
    lines = [*project.get("dependencies", []), *project["optional-dependencies"][extra]]
    return "".join(f"{line}\n" for line in lines)


def metadata(project: dict) -> str:
    """The smallest METADATA that importlib.metadata reads the version from."""
    return f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"


def main(pyproject: Path, output: Path) -> None:
    project = tomllib.loads(pyproject.read_text())["project"]
    dist_info = output / f"{project['name']}-{project['version']}.dist-info"
    dist_info.mkdir(parents=True)
    files = {
        output / "operator.txt": requirements(project, "operator"),
        output / "training.txt": requirements(project, "train"),
        dist_info / "METADATA": metadata(project),
    }
    for path, text in files.items():
        path.write_text(text)
    for path in [*files, dist_info]:
        os.utime(path, (0, 0))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
