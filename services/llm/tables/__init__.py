"""Published field tables: rows, aliases, contents, and how they are read."""
