"""The calls of both services by noun: plain functions that say what to send and how to read the answer."""
