"""What outlives a process: the database, artifacts, and the cache before them."""
