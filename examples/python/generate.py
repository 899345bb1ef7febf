"""Continues a line with the small model that ships."""

from diffllama import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained()  # the small model that ships; or a directory, a .gguf file
model = AutoModelForCausalLM.from_pretrained()
ids = model.generate(**tokenizer("HAMLET:", return_tensors="np"), max_new_tokens=32)
print(tokenizer.decode(ids[0], skip_special_tokens=True))
