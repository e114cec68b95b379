"""Where numba keeps what it has compiled, for images: beside the code, where their processes cannot write."""

from numba.core.caching import InTreeCacheLocator


class BesideTheCode(InTreeCacheLocator):  # type: ignore[misc]
    """Reads what was compiled when the image was built; NUMBA_CACHE_LOCATOR_CLASSES in the environment names it."""

    def ensure_cache_path(self) -> None:
        """Nothing: numba would try to write, and look elsewhere when it cannot."""
