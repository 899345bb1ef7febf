"""The logits of a text, and its loss."""

from transformers import AutoTokenizer, DiffLlamaForCausalLM

tokenizer = AutoTokenizer.from_pretrained(TINY)
model = DiffLlamaForCausalLM.from_pretrained(TINY, dtype="float32")
inputs = tokenizer("To be, or not to be: that is the", return_tensors="pt")
outputs = model(**inputs, labels=inputs["input_ids"], output_hidden_states=True)
results = {
    "logits": outputs.logits, "loss": outputs.loss, "states": outputs.hidden_states[-1],
    "last": model(**inputs, logits_to_keep=1)[0],
}
