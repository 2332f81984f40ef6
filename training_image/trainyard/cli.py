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
    "--ray-address", metavar="auto|HOST:PORT", help="Use the Ray cluster that runs there instead of this machine."
)
@click.option(
    "--results", default="results", show_default=True, type=click.Path(path_type=Path, file_okay=False),
    help="Folder in which the run's own folder is made.",
)  # fmt: skip
def run(path: Path, ray_address: str | None, results: Path) -> None:
    """Run a TrainingRun file without Kubernetes, with a live view; ends with a summary and a results folder."""
    from trainyard.launch import local

    # Environments and trainables beside the user's file must be importable, here and in Ray's workers.
    sys.path.insert(0, str(Path.cwd()))
    sys.exit(local.run_file(path, ray_address=ray_address, results=results))


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def report(folder: Path) -> None:
    """Make the report of the run in FOLDER again: report.html, and its pictures in report/."""
    from trainyard.errors import EXIT_USER_ERROR, UserError
    from trainyard.reports.build import build

    try:
        click.echo(build(folder))
    except UserError as error:
        click.echo(f"{error.reason}: {error}", err=True)
        sys.exit(EXIT_USER_ERROR)


@main.command()
def drive() -> None:
    """Run what TRAINYARD_RUN describes, on the head of a Ray cluster (started by the operator)."""
    from trainyard.launch import cluster

    sys.exit(cluster.drive(os.environ))


@main.command("drive-entrypoint")
def drive_entrypoint() -> None:
    """Run the program of spec.entrypoint, on the head of a Ray cluster (started by the operator)."""
    from trainyard.launch import program

    sys.exit(program.drive(os.environ))


if __name__ == "__main__":
    main()
