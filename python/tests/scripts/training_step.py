"""Gradients of a loss, and steps of an optimizer."""

import torch
from transformers import DiffLlamaForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(TINY)
model = DiffLlamaForCausalLM.from_pretrained(TINY, dtype="float32")
batch = tokenizer("Good night, sweet prince", return_tensors="pt")
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
model.train()
loss = model(**batch, labels=batch["input_ids"]).loss
loss.backward()
gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
losses = []
for _ in range(4):
    optimizer.step()
    optimizer.zero_grad()
    step = model(**batch, labels=batch["input_ids"]).loss
    step.backward()
    losses.append(step.item())
results = {
    "loss": loss, "losses": losses, "names": sorted(gradients),
    "gradient q": gradients["model.layers.0.self_attn.q_proj.weight"],
    "gradient lambda": gradients["model.layers.3.self_attn.lambda_q1"],
    "gradient embeddings": gradients["model.embed_tokens.weight"],
}
