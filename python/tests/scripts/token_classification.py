"""A label for each token, the loss, and the pipeline."""

from transformers import AutoTokenizer, DiffLlamaForTokenClassification, pipeline

tokenizer = AutoTokenizer.from_pretrained(TINY)
model = DiffLlamaForTokenClassification.from_pretrained(TOKENS, dtype="float32")
text = "Hamlet of Denmark was a prince"
inputs = tokenizer(text, return_tensors="pt")
logits = model(**inputs).logits
tagger = pipeline("token-classification", model=model, tokenizer=tokenizer)
found = tagger(text)
joined = pipeline("token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="simple")(text)
results = {
    "logits": logits, "loss": model(**inputs, labels=inputs["input_ids"] * 0).loss,
    "entities": [[each["entity"], each["word"], each["start"], each["end"]] for each in found],
    "scores": [each["score"] for each in found],
    "groups": [[each["entity_group"], each["word"], each["start"], each["end"]] for each in joined],
}
