"""`trainyard-operator`: read the settings, run one replica."""

import asyncio
import logging
import sys

from trainyard_operator import logs
from trainyard_operator.app import Application
from trainyard_operator.errors import CredentialsError, LeaseLostError
from trainyard_operator.settings import Settings, SettingsError, load


def main() -> int:
    """0 after a signal, 1 when the Lease is lost, 2 for wrong settings or no credentials."""
    try:
        settings = load(sys.argv[1:])
    except SettingsError as error:
        print(f"trainyard-operator: wrong settings\n{error}", file=sys.stderr)
        return 2
    logs.configure(settings.log_level)
    try:
        asyncio.run(_run(settings))
    except LeaseLostError as error:
        logging.getLogger(__name__).error("this replica is no longer the leader and exits: %s", error)
        return 1
    except CredentialsError as error:
        logging.getLogger(__name__).error("no credentials for the API server: %s", error)
        return 2
    return 0


async def _run(settings: Settings) -> None:
    await Application(settings).run()


if __name__ == "__main__":
    raise SystemExit(main())
