"""Brings the CTR service's database to a revision: `python -m services.ctr.migrations 0001`."""

from services.ctr.settings import CtrSettings
from services.shared.migrating import bring
from services.shared.serving import guarded

if __name__ == "__main__":
    guarded(lambda: bring(CtrSettings(), "services.ctr"))
