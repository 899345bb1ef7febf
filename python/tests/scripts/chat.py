"""A conversation."""

from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(TINY)
tokenizer.chat_template = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] | upper }}:\n{{ message['content'] }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}HAMLET:\n{% endif %}"
)
model = AutoModelForCausalLM.from_pretrained(TINY, dtype="float32")
messages = [{"role": "horatio", "content": "My lord, I came to see your father's funeral."}]
text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
ids = model.generate(**inputs, max_new_tokens=16)
results = {"text": text, "ids": inputs["input_ids"], "answer": ids}
