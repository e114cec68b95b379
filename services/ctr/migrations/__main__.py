"""Brings the CTR service's database to a revision: `python -m services.ctr.migrations ctr_0001`."""

from services.ctr.settings import CtrSettings
from services.shared.http.serving import guarded
from services.shared.storage.migrating import bring

if __name__ == "__main__":
    guarded(lambda: bring(CtrSettings(), "services.ctr"))
