"""The CTR service: trains, registers, promotes and scores."""
