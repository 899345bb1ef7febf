"""Greedy search by hand, with a cache."""

from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

tokenizer = AutoTokenizer.from_pretrained(TINY)
model = AutoModelForCausalLM.from_pretrained(TINY, dtype="float32")
cache = DynamicCache()
ids = tokenizer("To be, or not to be", return_tensors="pt")["input_ids"]
tokens = []
for _ in range(8):
    outputs = model(ids, past_key_values=cache, use_cache=True)
    ids = outputs.logits[:, -1:].argmax(-1)
    tokens.append(int(ids[0, 0]))
results = {"tokens": tokens, "length": cache.get_seq_length(), "logits": outputs.logits}
