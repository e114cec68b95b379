"""The frame of every service's HTTP app."""
