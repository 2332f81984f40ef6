"""`make bench`: all training benchmarks, one after the other. Each is a module of its own with options: --help."""

import subprocess
import sys

MODULES = ("training_speed", "sampling", "presets", "whole_episodes", "grid_search", "dqn_speed", "startup")

if __name__ == "__main__":
    failed = [
        name
        for name in MODULES
        if subprocess.run([sys.executable, "-m", f"tests.bench.{name}", *sys.argv[1:]], check=False).returncode
    ]
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)
