"""The accelerators of this machine: which they are, and whose turn it is."""
