"""Pipelines of text generation and of features."""

from transformers import pipeline

generator = pipeline("text-generation", model=TINY, dtype="float32")
features = pipeline("feature-extraction", model=TINY, dtype="float32")
results = {
    "text": generator("To be, or not", max_new_tokens=12, do_sample=False)[0]["generated_text"],
    "new": generator(["The king"], max_new_tokens=6, do_sample=False, return_full_text=False)[0][0]["generated_text"],
    "features": features("To be"),
}
