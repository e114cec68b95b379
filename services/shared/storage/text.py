"""Text of callers, as every database takes it."""


def storable(text: str, longest: int) -> str:
    """The text without what PostgreSQL refuses, a zero byte or half a surrogate pair, and cut to `longest`."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")[:longest]
