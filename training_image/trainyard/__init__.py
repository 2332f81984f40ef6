"""Trainyard's training library: what the training image runs and what a training program imports.

Importing this package imports neither Ray nor torch, so that the command answers at once and a driver can connect
to Ray before it pays for the import of RLlib.
"""

from trainyard.loading import MovedModules
from trainyard.progress.report import report

MovedModules().install()

__all__ = ["report"]
__version__ = "0.1.0"
