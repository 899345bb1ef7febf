"""The class of a text, its loss, and the pipeline."""

from transformers import AutoTokenizer, DiffLlamaForSequenceClassification, pipeline

tokenizer = AutoTokenizer.from_pretrained(TINY)
model = DiffLlamaForSequenceClassification.from_pretrained(SEQUENCE, dtype="float32")
inputs = tokenizer(["To be", "My lord, I am a man"], padding=True, return_tensors="pt")
logits = model(**inputs).logits
one = tokenizer("To be", return_tensors="pt")
answer = pipeline("text-classification", model=model, tokenizer=tokenizer)("My lord, I am a man")
results = {
    "logits": logits, "labels": [model.config.id2label[int(each)] for each in logits.argmax(-1)],
    "loss": model(**one, labels=(one["input_ids"] * 0)[:, 0]).loss, "label": answer[0]["label"], "score": answer[0]["score"],
}
