"""The `llactr` command: the floor above the services."""
