#!/usr/bin/env python3
"""Times a causal LM in transformers, on the CPU, in bfloat16.

usage: time_transformers.py MODEL_DIR sdpa|eager PROMPT_TOKENS NEW_TOKENS THREADS
Prints {"prompt": tokens per second, "generate": tokens per second} of one run after a warm-up, with the logits of the
last token only, as `diffllama bench` does."""
import json
import sys
import time

import torch
from transformers import AutoModelForCausalLM

path, attention, prompt, new, threads = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
torch.set_num_threads(threads)
model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16, attn_implementation=attention).eval()
ids = torch.randint(model.config.vocab_size, (1, prompt), generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def time_prompt(count):
    start = time.perf_counter()
    model(ids[:, :count], logits_to_keep=1, use_cache=True)
    return count / (time.perf_counter() - start)


@torch.inference_mode()
def time_generation(count):
    token, cache = ids[:, :1], None
    start = time.perf_counter()
    for _ in range(count):
        output = model(token, past_key_values=cache, use_cache=True, logits_to_keep=1)
        token, cache = output.logits[:, -1:].argmax(-1), output.past_key_values
    return count / (time.perf_counter() - start)


time_prompt(prompt)
time_generation(2)
print(json.dumps({"prompt": time_prompt(prompt), "generate": time_generation(new)}))
