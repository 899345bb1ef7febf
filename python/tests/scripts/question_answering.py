"""Where an answer stands, and its loss."""

from transformers import AutoTokenizer, DiffLlamaForQuestionAnswering

tokenizer = AutoTokenizer.from_pretrained(TINY)
model = DiffLlamaForQuestionAnswering.from_pretrained(ANSWER, dtype="float32")
question, text = "Who is king?", "Claudius is king of Denmark, and Hamlet is a prince."
inputs = tokenizer(question, text, return_tensors="pt")
outputs = model(**inputs)
place = inputs["input_ids"][:, 0] * 0 + 3
results = {
    "start": outputs.start_logits, "end": outputs.end_logits,
    "loss": model(**inputs, start_positions=place, end_positions=place).loss,
}
