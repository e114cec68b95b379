"""The API process of the CTR service: `python -m services.ctr.api`; it imports no torch."""

from services.shared.http.starting import start

if __name__ == "__main__":
    start("services.ctr.app")
