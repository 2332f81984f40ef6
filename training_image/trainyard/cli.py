"""The `trainyard` command.

Nothing heavy is imported until a command needs it: `trainyard --help` answers at once.
"""

import os
import sys
from pathlib import Path

import click

from trainyard import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="trainyard")
def main() -> None:
    """Train reinforcement-learning policies, on this machine or on a Ray cluster, from one TrainingRun file."""


@main.command()
@click.option("-f", "--file", "path", required=True, type=click.Path(path_type=Path), help="The TrainingRun (YAML).")
@click.option(
    "--ray-address", metavar="auto|HOST:PORT", help="Use the Ray cluster at this address instead of this machine."
)
@click.option(
    "--results", default="results", show_default=True, type=click.Path(path_type=Path, file_okay=False),
    help="Folder in which the run creates its own folder.",
)  # fmt: skip
def run(path: Path, ray_address: str | None, results: Path) -> None:
    """Run a TrainingRun file without Kubernetes. Shows a live view, then a summary and the results folder."""
    from trainyard.launch import local

    # Environments and trainables in the current folder must be importable, here and in Ray's workers.
    sys.path.insert(0, str(Path.cwd()))
    sys.exit(local.run_file(path, ray_address=ray_address, results=results))


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def report(folder: Path) -> None:
    """Make the report of the run in FOLDER again: report.html and its pictures in report/."""
    from trainyard.errors import EXIT_USER_ERROR, UserError
    from trainyard.reports.build import build

    try:
        click.echo(build(folder))
    except UserError as error:
        click.echo(f"{error.reason}: {error}", err=True)
        sys.exit(EXIT_USER_ERROR)


@main.command()
def drive() -> None:
    """Run the document in TRAINYARD_RUN on the head of a Ray cluster (the operator starts this command)."""
    from trainyard.launch import cluster

    sys.exit(cluster.drive(os.environ))


@main.command("drive-entrypoint")
def drive_entrypoint() -> None:
    """Run the program of spec.entrypoint on the head of a Ray cluster (the operator starts this command)."""
    from trainyard.launch import program

    sys.exit(program.drive(os.environ))


if __name__ == "__main__":
    main()
