"""ONNX graphs that run on one core each: the callers' threads share the cores out."""

import onnxruntime


def open_session(graph: bytes) -> onnxruntime.InferenceSession:
    """A session for a serialised graph; safe to share between threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
