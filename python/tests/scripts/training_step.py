"""Gradients of a loss."""

from transformers import DiffLlamaForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(TINY)
model = DiffLlamaForCausalLM.from_pretrained(TINY, dtype="float32")
batch = tokenizer("Good night, sweet prince", return_tensors="pt")
loss = model(**batch, labels=batch["input_ids"]).loss
loss.backward()
gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
results = {
    "loss": loss, "names": sorted(gradients),
    "gradient q": gradients["model.layers.0.self_attn.q_proj.weight"],
    "gradient lambda": gradients["model.layers.3.self_attn.lambda_q1"],
    "gradient embeddings": gradients["model.embed_tokens.weight"],
}
