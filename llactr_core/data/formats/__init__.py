"""The file formats that a dataset may have, one module each."""
