#!/usr/bin/env python3
"""Makes the goldens of generation and perplexity under tests/golden, with transformers in float32:

    generate.json            greedy ids of models/diffllama-tiny
    logits_processors.json   scores after each processor and warper, alone and together
    guidance.json            greedy ids with guidance_scale and negative_prompt_ids
    beams.json               beam search of models/diffllama-tiny, and what beam sampling draws from
    generation_config_fields.json  the fields of GenerationConfig
    perplexity.json          models/diffllama-tiny on tests/data/documents.jsonl
    smollm2.json             greedy ids of SmolLM2-135M-Instruct.Q4_1.gguf (tools/fetch_smollm2.sh)

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch transformers safetensors gguf
    /tmp/venv/bin/python tools/make_generation_goldens.py generate beams guidance processors fields perplexity
    /tmp/venv/bin/python tools/make_generation_goldens.py smollm2 --gguf FILE
    /tmp/venv/bin/python tools/make_generation_goldens.py perplexity --corpus FILE.jsonl

With --corpus, perplexity.json also records the figure for a file that the repository does not hold.
"""

import argparse
import hashlib
import json
from pathlib import Path

import torch
import transformers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DiffLlamaConfig,
    DiffLlamaForCausalLM,
    GenerationConfig,
    WatermarkingConfig,
)

import reference

REPOSITORY = Path(__file__).resolve().parent.parent
GOLDEN = REPOSITORY / "tests" / "golden"
TINY = REPOSITORY / "models" / "diffllama-tiny"
DOCUMENTS = REPOSITORY / "tests" / "data" / "documents.jsonl"
# A greedy choice must not hang on float32 rounding, which moves logits by about 1e-5.
MARGIN = 2e-4


def write(name, value):
    """One list item or key a line: small diffs, short lines."""
    text = json.dumps(value, ensure_ascii=False, indent=1)
    (GOLDEN / name).write_text(compact_numbers(text) + "\n", encoding="utf-8")
    print(f"{name}: {(GOLDEN / name).stat().st_size} bytes")


def compact_numbers(text):
    """Joins the lines of lists that hold only numbers and nulls."""
    lines, run = [], None
    for line in text.split("\n"):
        item = line.strip().rstrip(",")
        if run is not None and (item == "null" or item.lstrip("-").replace(".", "").isdigit()
                                or "e-" in item and item[0] in "-0123456789"):
            run.append(item)
        elif run and item == "]":
            lines[-1] += ", ".join(run) + line.strip()
            run = None
        else:
            if run:
                lines[-1] += ", ".join(run)
            lines.append(line)
            run = [] if line.endswith("[") else None
    return "\n".join(lines)


def greedy(model, prompt_ids, options, tokenizer=None):
    """The new tokens of one prompt, and by how much the closest choice was made."""
    result = model.generate(
        torch.tensor([prompt_ids]),
        attention_mask=torch.ones(1, len(prompt_ids), dtype=torch.long),
        do_sample=False,
        output_scores=True,
        return_dict_in_generate=True,
        tokenizer=tokenizer if "stop_strings" in options else None,
        **options,
    )
    top = torch.stack([s[0].topk(2).values for s in result.scores])
    margin = (top[:, 0] - top[:, 1]).min().item()
    return result.sequences[0, len(prompt_ids):].tolist(), margin


def sequence_record(model, tokenizer, name, prompt, options):
    """prompt: text, or token ids."""
    ids = prompt if isinstance(prompt, list) else tokenizer(prompt)["input_ids"]
    new, margin = greedy(model, ids, options, tokenizer)
    print(f"  {name}: {len(new)} tokens, margin {margin:.1e}")
    assert margin > MARGIN, f"{name}: too close a choice for a golden"
    record = {"name": name}
    if not isinstance(prompt, list):
        record["prompt"] = prompt
    return record | {
        "prompt_ids": ids,
        "options": options,
        "ids": new,
        "text": tokenizer.decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False),
    }


def generate():
    model = reference.load(TINY)
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    newline = tokenizer("\n", add_special_tokens=False)["input_ids"][-1]
    comma = tokenizer(",", add_special_tokens=False)["input_ids"][-1]
    to_be, king, lord = "To be, or not to be", "KING HENRY:\nMy lord,", "And the LORD said unto"
    whale = "It was on a dreary night of November that I beheld"
    long_prompt = tokenizer(lord + " Moses, Speak unto the children of Israel, saying, " * 30)["input_ids"]
    cases = [
        ("plain", to_be, {"max_new_tokens": 100}),
        ("dialogue", king, {"max_new_tokens": 64}),
        ("scripture", lord, {"max_new_tokens": 64}),
        ("novel", whale, {"max_new_tokens": 64}),
        ("one_token", to_be, {"max_new_tokens": 1}),
        ("from_ids", [1, 37, 512, 4000, 95, 300], {"max_new_tokens": 64}),
        ("from_bos", [1], {"max_new_tokens": 64}),
        ("past_256_keys", long_prompt[:230], {"max_new_tokens": 64}),
        ("repetition_penalty", to_be, {"max_new_tokens": 80, "repetition_penalty": 1.25}),
        ("repetition_reward", king, {"max_new_tokens": 32, "repetition_penalty": 0.8}),
        ("no_repeat_ngram_2", lord, {"max_new_tokens": 80, "no_repeat_ngram_size": 2}),
        ("no_repeat_ngram_3", to_be, {"max_new_tokens": 80, "no_repeat_ngram_size": 3}),
        ("no_repeat_ngram_1", king, {"max_new_tokens": 48, "no_repeat_ngram_size": 1}),
        (
            "penalty_and_ngram",
            whale,
            {"max_new_tokens": 64, "repetition_penalty": 1.2, "no_repeat_ngram_size": 3},
        ),
        ("eos", king, {"max_new_tokens": 64, "eos_token_id": newline}),
        ("eos_list", to_be, {"max_new_tokens": 64, "eos_token_id": [2, comma]}),
        (
            "min_new_tokens",
            king,
            {"max_new_tokens": 64, "min_new_tokens": 20, "eos_token_id": newline},
        ),
        ("stop_string", king, {"max_new_tokens": 64, "stop_strings": ["KING RICHARD", "zzz"]}),
    ]
    records = [sequence_record(model, tokenizer, *case) for case in cases]
    write("generate.json", {
        "model": "models/diffllama-tiny",
        "sequences": records,
        "batch": left_padded_batch(model, records[:4]),
    })


def left_padded_batch(model, records):
    """generate() on one left-padded batch must give what each prompt gives alone."""
    longest = max(len(r["prompt_ids"]) for r in records)
    ids = torch.zeros(len(records), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, record in enumerate(records):
        ids[row, longest - len(record["prompt_ids"]):] = torch.tensor(record["prompt_ids"])
        mask[row, longest - len(record["prompt_ids"]):] = 1
    out = model.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=64)
    for row, record in enumerate(records):
        assert out[row, longest:].tolist() == record["ids"][:64], record["name"]
    return {"names": [r["name"] for r in records], "max_new_tokens": 64}


def beam_searches(model, prompts, options):
    """One batch, padded on the left: the sequences and scores of each prompt."""
    longest = max(map(len, prompts))
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt):] = torch.tensor(prompt)
        mask[row, longest - len(prompt):] = 1
    result = model.generate(
        ids, attention_mask=mask, do_sample=False, pad_token_id=0, output_scores=True,
        return_dict_in_generate=True, **options,
    )  # fmt: skip
    eos = options["eos_token_id"]
    eos = eos if isinstance(eos, list) else [eos]
    sequences = []
    for row, beams in zip(result.sequences[:, longest:].tolist(), result.beam_indices.tolist()):
        length = sum(beam >= 0 for beam in beams)
        assert all(x == (eos + [0])[0] or x == 0 for x in row[length:]), row
        sequences.append(row[:length])
    scores = result.sequences_scores.tolist()
    count = options.get("num_return_sequences", 1)
    return [
        {"prompt_ids": prompt, "ids": sequences[i * count:(i + 1) * count],
         "scores": scores[i * count:(i + 1) * count]}
        for i, prompt in enumerate(prompts)
    ]  # fmt: skip


def beams():
    """Each case as one batch in float32, and each prompt alone in float64: what hangs on rounding
    is no golden. (float64 makes NaN of padding.)"""
    model, exact = reference.load(TINY), reference.load(TINY).double()
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    newline = tokenizer("\n", add_special_tokens=False)["input_ids"][-1]
    comma = tokenizer(",", add_special_tokens=False)["input_ids"][-1]
    texts = ["To be, or not to be", "KING HENRY:\nMy lord,", "And the LORD said unto",
             "It was on a dreary night of November that I beheld"]  # fmt: skip
    prompts = [tokenizer(text)["input_ids"] for text in texts] + [[1]]
    cases = {}
    for early in (False, True, "never"):
        for penalty in (0.0, 1.0, 2.0):
            cases[f"beams_4_{early}_{penalty:.0f}"] = {
                "num_beams": 4, "num_return_sequences": 4, "max_new_tokens": 16,
                "eos_token_id": [newline, comma], "early_stopping": early,
                "length_penalty": penalty,
            }  # fmt: skip
    plain = {"num_beams": 3, "max_new_tokens": 20, "eos_token_id": newline}
    cases |= {
        "beams_3": plain,
        "beams_2_long": plain | {"num_beams": 2, "max_new_tokens": 40},
        "negative_penalty": plain | {"length_penalty": -1.5, "num_return_sequences": 2},
        "repetition_penalty": plain | {"repetition_penalty": 1.3},
        "no_repeat_ngram": plain | {"no_repeat_ngram_size": 2, "num_return_sequences": 3},
        "min_new_tokens": plain | {"min_new_tokens": 12, "eos_token_id": [newline, comma]},
        "forced_eos": plain | {"forced_eos_token_id": newline, "max_new_tokens": 9},
        "renormalized": plain | {"suppress_tokens": [262], "renormalize_logits": True},
    }
    records = []
    for name, options in cases.items():
        found = beam_searches(model, prompts, options)
        for record in found:
            other = beam_searches(exact, [record["prompt_ids"]], options)[0]
            if record["ids"] == other["ids"]:
                records.append({"name": name, "options": options} | record)
            else:
                print(f"  {name}: hangs on rounding, left out")
        kept = [r for r in records if r["name"] == name]
        print(f"  {name}: {len(kept)} prompts", flush=True)
        assert len(kept) >= 3
    write("beams.json", {"model": "models/diffllama-tiny", "searches": records})


def guidance():
    model = reference.load(TINY)
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    king, lord = tokenizer("KING HENRY:\nMy lord,")["input_ids"], tokenizer("And the LORD said")["input_ids"]
    negative = tokenizer("Thou shalt not")["input_ids"]
    records = []
    for name, prompt in {"king": king, "lord": lord}.items():
        for scale, ids in [(1.5, negative), (3.0, negative), (0.0, negative), (2.0, None)]:
            kwargs = {} if ids is None else {"negative_prompt_ids": torch.tensor([ids])}
            options = {"max_new_tokens": 24, "guidance_scale": scale}
            new, margin = greedy(model, prompt, options | kwargs)
            print(f"  {name} {scale}: {len(new)} tokens, margin {margin:.1e}")
            if margin <= 4 * MARGIN:
                continue
            listed = {} if ids is None else {"negative_prompt_ids": ids}
            records.append({"name": f"{name}_{scale}", "prompt_ids": prompt,
                            "options": options | listed, "ids": new})  # fmt: skip
    write("guidance.json", {"model": "models/diffllama-tiny", "sequences": records})


def processors():
    vocab = 48  # selfhash looks at the 40 likeliest
    config = DiffLlamaConfig(
        vocab_size=vocab, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2,
    )  # fmt: skip
    model = DiffLlamaForCausalLM(config)
    rng = reference.generator("logits_processors")
    prompt = [3, 5, 7, 3, 5]
    new = [9, 3, 5]
    spread = (torch.randn(vocab, generator=rng) * 3).tolist()
    flat = (torch.randn(vocab, generator=rng) * 0.1).tolist()
    peaked = [12.0] + (torch.randn(vocab - 1, generator=rng)).tolist()
    tied = [2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0] + [-1.0] * (vocab - 7)
    settings = [
        {"repetition_penalty": 1.7},
        {"repetition_penalty": 0.6},
        {"no_repeat_ngram_size": 1},
        {"no_repeat_ngram_size": 2},
        {"no_repeat_ngram_size": 3},
        {"no_repeat_ngram_size": 9},
        {"min_new_tokens": 4, "eos_token_id": [2, 11]},
        {"min_new_tokens": 3, "eos_token_id": [2, 11]},
        {"temperature": 0.4},
        {"temperature": 2.5},
        {"top_k": 1},
        {"top_k": 5},
        {"top_k": 100},
        {"top_p": 0.9},
        {"top_p": 0.3},
        {"top_p": 0.01},
        {"min_p": 0.1},
        {"min_p": 0.9},
        {"top_h": 0.4},
        {"top_h": 0.9},
        {"typical_p": 0.5},
        {"typical_p": 0.95},
        {"epsilon_cutoff": 0.03},
        {"eta_cutoff": 0.1},
        {"eta_cutoff": 0.6},
        {"sequence_bias": [[[7], -3.0], [[5, 9], 4.0], [[3, 5, 2], 1.5], [[9, 3, 5, 2], 0.25]]},
        {"bad_words_ids": [[4], [2], [5, 11], [3, 5, 8], [1, 1, 6]]},
        {"forced_eos_token_id": [2, 6], "max_new_tokens": 4},
        {"forced_eos_token_id": [2, 6], "max_new_tokens": 5},
        {"exponential_decay_length_penalty": [1, 1.3], "eos_token_id": [2, 11]},
        {"exponential_decay_length_penalty": [3, 1.3]},
        {"suppress_tokens": [0, 5]},
        {"begin_suppress_tokens": [1, 2]},
        {"forced_bos_token_id": 4},
        {"forced_bos_token_id": 4, "begin_suppress_tokens": [4]},
        {"renormalize_logits": True},
        {"temperature": 0.6, "top_k": 6, "renormalize_logits": True},
        {"watermarking_config": {"greenlist_ratio": 0.25, "bias": 2.0}},
        {"watermarking_config": {"greenlist_ratio": 0.5, "bias": 1.5, "hashing_key": 17,
                                 "seeding_scheme": "selfhash", "context_width": 3}},
        {"typical_p": 0.9, "epsilon_cutoff": 0.01, "eta_cutoff": 0.02, "top_h": 0.95},
        {"temperature": 0.7, "top_k": 8, "top_p": 0.8, "min_p": 0.05},
        {"temperature": 1.5, "top_k": 12, "top_p": 0.95},
        {
            "repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "min_new_tokens": 9,
            "eos_token_id": [2], "temperature": 0.8, "top_k": 10, "top_p": 0.85, "min_p": 0.02,
        },
    ]  # fmt: skip
    contexts = {
        "long": {"prompt_ids": prompt, "new_ids": new},
        "first": {"prompt_ids": [3, 5], "new_ids": []},
        "bos": {"prompt_ids": [1], "new_ids": []},
    }
    sorted_by = {"top_p", "top_h", "typical_p", "watermarking_config"}
    cases = []
    for scores_name, scores in dict(spread=spread, flat=flat, peaked=peaked, tied=tied).items():
        for options in settings:
            if scores_name == "tied" and sorted_by & options.keys():
                continue  # which of equal scores stays is the sort's choice
            begins = {"begin_suppress_tokens", "forced_bos_token_id"} & options.keys()
            for name in contexts if begins else ["long"]:
                cases.append(processor_case(model, contexts, name, scores_name, scores, options))
    write("logits_processors.json", {
        "contexts": contexts,
        "scores": dict(spread=spread, flat=flat, peaked=peaked, tied=tied),
        "cases": cases,
    })


def processor_case(model, contexts, context, scores_name, scores, options):
    prompt, new = contexts[context].values()
    defaults = {"do_sample": True, "top_k": 0, "eos_token_id": [2], "max_new_tokens": 20}
    generation = GenerationConfig(**(defaults | options))
    generation.max_length = len(prompt) + generation.max_new_tokens
    if "watermarking_config" in options:
        generation.watermarking_config = WatermarkingConfig(**options["watermarking_config"])
    model._prepare_special_tokens(generation, device="cpu")
    chain = model._get_logits_processor(generation, input_ids_seq_length=len(prompt), device="cpu")
    ids = torch.tensor([prompt + new])
    result = chain(ids, torch.tensor([scores]))[0]
    top_p_is_clear(options, result, chain, prompt + new, scores)
    # What is ruled out must not hang on rounding.
    exact = chain(ids, torch.tensor([scores], dtype=torch.float64))[0]
    assert torch.equal(result.isinf(), exact.isinf()), f"{options}: at the edge"
    return {
        "scores": scores_name,
        "context": context,
        "options": options,
        "processed": [None if x == float("-inf") else x for x in result.tolist()],
    }


def fields():
    write("generation_config_fields.json", {
        "transformers": transformers.__version__,
        "fields": sorted(vars(GenerationConfig())),
    })


def top_p_is_clear(options, result, chain, ids, scores):
    """The cut of top_p must not hang on rounding: a little more or less keeps the same tokens."""
    for warper in chain:
        if not hasattr(warper, "top_p"):
            continue
        exact = warper.top_p
        for nearby in (exact - 1e-4, exact + 1e-4):
            warper.top_p = nearby
            other = chain(torch.tensor([ids]), torch.tensor([scores]))[0]
            assert torch.equal(other, result), f"{options}: top_p at the edge"
        warper.top_p = exact


def perplexity_of(path):
    """As `diffllama perplexity`: each document alone, special tokens added, windows of
    max_position_embeddings that do not overlap, mean over all predicted tokens."""
    model = reference.load(TINY)
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    window = model.config.max_position_embeddings
    total, count = 0.0, 0
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        ids = tokenizer(json.loads(line)["text"])["input_ids"]
        for start in range(0, len(ids), window):
            piece = torch.tensor([ids[start : start + window]])
            if piece.shape[1] < 2:
                continue
            with torch.no_grad():
                logits = model(piece).logits[0, :-1]
            nll = torch.nn.functional.cross_entropy(logits, piece[0, 1:], reduction="none")
            total += nll.double().sum().item()
            count += nll.numel()
    return {
        "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest(),
        "perplexity": float(torch.tensor(total / count, dtype=torch.float64).exp()),
        "tokens": count,
    }


def perplexity(corpus):
    golden = GOLDEN / "perplexity.json"
    old = json.loads(golden.read_text()) if golden.exists() else {"files": {}}
    files = old["files"] | {"tests/data/documents.jsonl": perplexity_of(DOCUMENTS)}
    if corpus:
        files[Path(corpus).name] = perplexity_of(corpus)
    write("perplexity.json", {"model": "models/diffllama-tiny", "files": files})


def smollm2(gguf):
    """The lm_head is the file's Q8_0 embeddings; everything is expanded to float32."""
    gguf = Path(gguf)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model.generation_config.eos_token_id = None  # as --ignore-eos
    options = {"max_new_tokens": 48}
    prompts = {
        "france": "The capital of France is",
        "recipe": "To bake a loaf of bread, you first",
        "code": "def fibonacci(n):\n    ",
        "unicode": "Der Fluß fließt über die Brücke — naïve café, 東京 and 🙂",
        "chat": "<|im_start|>user\nWhy is the sky blue?<|im_end|>\n<|im_start|>assistant\n",
        "ids": [504, 2365, 282, 4649, 314],
        "numbers": "1, 1, 2, 3, 5, 8, 13,",
    }
    records = [sequence_record(model, tokenizer, n, p, options) for n, p in prompts.items()]
    write("smollm2.json", {
        "file": gguf.name,
        "sha256": hashlib.sha256(gguf.read_bytes()).hexdigest(),
        "sequences": records,
    })


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "what", nargs="+", choices=["generate", "beams", "guidance", "processors", "fields", "perplexity", "smollm2"]
    )
    parser.add_argument("--gguf", help="SmolLM2-135M-Instruct.Q4_1.gguf, for smollm2")
    parser.add_argument("--corpus", help="a .jsonl file, for perplexity")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    if "generate" in arguments.what:
        generate()
    if "beams" in arguments.what:
        beams()
    if "guidance" in arguments.what:
        guidance()
    if "processors" in arguments.what:
        processors()
    if "fields" in arguments.what:
        fields()
    if "perplexity" in arguments.what:
        perplexity(arguments.corpus)
    if "smollm2" in arguments.what:
        if not arguments.gguf:
            parser.error("smollm2 needs --gguf FILE")
        smollm2(arguments.gguf)


if __name__ == "__main__":
    main()
