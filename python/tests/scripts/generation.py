"""Greedy search, penalties and beams."""

from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

tokenizer = AutoTokenizer.from_pretrained(TINY, padding_side="left")
model = AutoModelForCausalLM.from_pretrained(TINY, dtype="float32")
inputs = tokenizer(["HAMLET:", "My lord, I"], padding=True, return_tensors="pt")
greedy = model.generate(**inputs, max_new_tokens=24)
config = GenerationConfig(max_new_tokens=24, repetition_penalty=1.3, no_repeat_ngram_size=3)
penalised = model.generate(**inputs, generation_config=config)
beams = model.generate(**inputs, max_new_tokens=12, num_beams=3, early_stopping=True)
shown = model.generate(**inputs, max_new_tokens=3, return_dict_in_generate=True, output_scores=True)
results = {
    "greedy": greedy, "penalised": penalised, "beams": beams, "scores": shown.scores[2],
    "text": tokenizer.batch_decode(greedy, skip_special_tokens=True),
}
