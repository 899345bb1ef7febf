"""Memory, processes and threads."""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
import threading
from typing import Any

import numpy as np
import pytest
from conftest import FORWARD, ROOT

import diffllama


def memory() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def test_ten_thousand_calls_leak_nothing(tokenizer: Any) -> None:
    small = diffllama.AutoModelForCausalLM.from_pretrained(FORWARD / "diffllama_causal", dtype="float32", threads=1)
    ids = np.array([[1, 2, 3]])

    def call() -> None:
        small(ids, use_cache=False, output_hidden_states=True)
        tokenizer("To be, or not", return_offsets_mapping=True)

    for _ in range(1000):
        call()
    gc.collect()
    before, objects = memory(), len(gc.get_objects())
    for _ in range(10_000):
        call()
    gc.collect()
    assert memory() - before < 4 << 20
    assert len(gc.get_objects()) - objects < 100


def test_objects_outlive_each_other(tokenizer: Any) -> None:
    model = diffllama.AutoModelForCausalLM.from_pretrained(ROOT / "models" / "diffllama-tiny", threads=1)
    output = model(np.array([[1, 916]]))
    engine = diffllama.Engine(model, tokenizer)
    logits, cache, core = output.logits, output.past_key_values, engine._core
    expected = logits.copy()
    del output, engine, model
    gc.collect()
    assert np.array_equal(logits, expected) and cache.get_seq_length() == 2
    assert not core.has_work()


def test_threads_wait_for_each_other(model: Any) -> None:
    ids = np.array([[1, 916, 300]])
    expected = model(ids).logits
    found: list[bool] = []
    threads = [threading.Thread(target=lambda: found.append(np.array_equal(model(ids).logits, expected))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8


def _spawned(queue: Any) -> None:
    model = diffllama.AutoModelForCausalLM.from_pretrained(ROOT / "models" / "diffllama-tiny", threads=1)
    queue.put(model.generate(np.array([[1, 916]]), max_new_tokens=2).shape)


def test_spawned_processes_work() -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_spawned, args=(queue,))
    process.start()
    assert queue.get(timeout=120) == (1, 4)
    process.join()


def test_a_forked_process_refuses(model: Any) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            model(np.array([[1]]))
            os.write(writing, b"computed")
        except diffllama.Error as error:
            os.write(writing, str(error).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert b"loaded before it was forked" in os.read(reading, 1000)


def test_a_model_cannot_be_pickled(model: Any) -> None:
    import pickle

    with pytest.raises(TypeError):
        pickle.dumps(model.engine)
