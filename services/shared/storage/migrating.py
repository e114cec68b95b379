"""What an operator calls to bring a service's database to a revision."""

import argparse

from services.shared.settings import ServiceSettings
from services.shared.storage.storage import Storage, migrate


def bring(settings: ServiceSettings, package: str) -> None:
    """Bring the database of the settings to the revision on the command line.

    Raises:
        OptionError: there is no such revision.
        UnavailableError: the database does not answer.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {package}.migrations", description="Bring the service's database to a revision, up or down."
    )
    parser.add_argument(
        "revision", nargs="?", default="head", help="the name of a revision, head (the default) or base"
    )
    revision = parser.parse_args().revision
    storage = Storage(settings.storage_url)
    migrate(storage, package, revision)
    storage.close()
