"""The layers alone, on ids and on embeddings."""

from transformers import AutoTokenizer, DiffLlamaModel

tokenizer = AutoTokenizer.from_pretrained(TINY)
model = DiffLlamaModel.from_pretrained(TINY, dtype="float32")
inputs = tokenizer(["To be", "The rest is silence"], padding=True, return_tensors="pt")
embeddings = model.get_input_embeddings()(inputs["input_ids"])
by_ids = model(**inputs, output_hidden_states=True)
by_embeddings = model(inputs_embeds=embeddings, attention_mask=inputs["attention_mask"])
results = {
    "embeddings": embeddings, "states": by_ids.last_hidden_state, "same": by_embeddings[0],
    "layer 2": by_ids.hidden_states[2], "count": len(by_ids.hidden_states),
}
