"""The images' health check: `healthy.py [--wait SECONDS] URL...` ends with 0 where every URL answers below 400."""

import argparse
import sys
import time
import urllib.error
import urllib.request

TIMEOUT_S = 4.0
LOOK_S = 1.0


def trouble(url: str) -> str | None:
    """What is wrong with what the URL answers; None where nothing is."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S):
            return None
    except (urllib.error.URLError, OSError) as error:
        return f"{url}: {error}"


def main() -> int:
    """Ask each URL, again and again where that is wanted; reasons go to stdout, where `docker inspect` shows them."""
    parser = argparse.ArgumentParser(description="Whether URLs answer.")
    parser.add_argument("--wait", type=float, default=0.0, help="Seconds that they have to begin to.")
    parser.add_argument("urls", nargs="+")
    given = parser.parse_args()
    deadline = time.monotonic() + given.wait
    for url in given.urls:
        while (why := trouble(url)) is not None:
            if time.monotonic() >= deadline:
                print(why)
                return 1
            time.sleep(LOOK_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
