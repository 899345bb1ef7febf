"""Continues two texts in one batch."""

from diffllama import AutoModelForCausalLM, AutoTokenizer  # in place of transformers

tokenizer = AutoTokenizer.from_pretrained("models/diffllama-tiny")
model = AutoModelForCausalLM.from_pretrained("models/diffllama-tiny", dtype="float32")
inputs = tokenizer(["To be", "The end"], padding=True, padding_side="left", return_tensors="np")
ids = model.generate(**inputs, max_new_tokens=20)
print(tokenizer.batch_decode(ids, skip_special_tokens=True))
