"""Facts as JSON can carry them."""

import math
from typing import Any


def plain(value: object) -> Any:
    """The value with numbers that are not finite as None: JSON has no word for them."""
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
