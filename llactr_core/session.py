"""ONNX graphs that run on one core each: the callers' threads share the cores out."""

import onnxruntime

NOWHERE = "/nonexistent"
# Fused, a sum and its LayerNorm over an embedding take six times as long as apart (onnxruntime 1.32 on a CPU).
NOT_FUSED = ["SkipLayerNormFusion"]


def open_session(graph: bytes) -> onnxruntime.InferenceSession:
    """A session for a serialised graph; safe to share between threads.

    All weights have to be in the graph: one that names a file, which could be any file of this machine, is refused.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", NOWHERE)
    return onnxruntime.InferenceSession(
        graph, options, providers=["CPUExecutionProvider"], disabled_optimizers=NOT_FUSED
    )
