"""Attention maps."""

from transformers import AutoTokenizer, DiffLlamaForCausalLM

tokenizer = AutoTokenizer.from_pretrained(TINY)
model = DiffLlamaForCausalLM.from_pretrained(TINY, dtype="float32", attn_implementation="eager")
inputs = tokenizer("To be, or not to be", return_tensors="pt")
outputs = model(**inputs, output_attentions=True)
results = {"first": outputs.attentions[0], "last": outputs.attentions[-1], "count": len(outputs.attentions)}
