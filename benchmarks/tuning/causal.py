"""A causal model's step, with what all prompts begin with read once and with every prompt read whole."""

import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from benchmarks.tuning.subject import Subject
from llactr_core.semantics.encoder import TextEncoder
from llactr_core.semantics.options import SsftOptions
from llactr_core.semantics.tuning.adapter import add_adapter
from llactr_core.semantics.tuning.workload import prepare
from llactr_core.semantics.weights import DEFAULT_MODEL, resolve_model

SHAPE = {"hidden_size": 512, "intermediate_size": 1792, "num_hidden_layers": 6, "num_attention_heads": 8}


def prefix_ratios(subject: Subject, options: SsftOptions, steps: int, repeats: int = 3) -> list[float]:
    """CPU time of a step's loss and gradient without sharing over that with it, by batch; the least of the repeats."""
    with tempfile.TemporaryDirectory(prefix="llactr-bench-") as folder:
        _write_model(Path(folder))
        encoder = TextEncoder.load(folder, device="cpu")
    work = prepare(encoder, subject.schema, subject.samples, options)
    add_adapter(encoder, options)
    encoder.share_prefix(work.train_rows)
    ratios = []
    with encoder.in_bfloat16():
        for batch in work.batches(options, 0)[:steps]:
            times: dict[bool, list[float]] = {True: [], False: []}
            for _ in range(repeats):
                for shared, taken in times.items():
                    encoder.shares_prefix = shared
                    encoder.model.zero_grad()
                    began = time.process_time()
                    loss = work.task.loss([work.train_rows[i] for i in batch], [work.train[i] for i in batch])
                    loss.backward()
                    taken.append(time.process_time() - began)
            ratios.append(min(times[False]) / min(times[True]))
    return ratios


def _write_model(folder: Path) -> None:
    """A Llama of 6 layers, 512 wide, with random weights, that reads MiniLM's tokens."""
    AutoTokenizer.from_pretrained(resolve_model(DEFAULT_MODEL), local_files_only=True).save_pretrained(folder)
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=30522, num_key_value_heads=4, **SHAPE)).save_pretrained(folder)
