#!/usr/bin/env python3
"""Times a training step (forward, backward, AdamW) on the CPU: `diffllama train` and transformers, turn about.

usage: time_training.py MODEL_DIR... [--program build/release/bin/diffllama] [--batch 1 4] [--tokens 512]
                        [--threads 2] [--steps 5] [--attention sdpa eager] [--dtype bfloat16 float32] > steps.json

Weights, gradients and moments are float32; with --dtype bfloat16 the products are bfloat16's, in transformers by
autocast. AdamW is torch's fused one there. Every combination is one process, so that none inherits another's memory.
--attention with nothing after it leaves transformers out. Prints a JSON list:
    model, engine, attention, dtype, batch, tokens, threads, parameters
    seconds, tokens_per_second     median over --steps, after a step that is not counted
    samples                        seconds of each step
    parts                          medians of forward, backward, optimizer (transformers)
    gflops                         6 operations per parameter and token, embeddings that are only looked up left out
    gflops_all                     the same with them
    peak_bytes                     the most memory that the process held, at any time
Models: benchmarks/make_models.py. Leave the machine alone meanwhile."""
import argparse
import itertools
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

TOKENIZER = pathlib.Path(__file__).resolve().parent.parent / "models" / "diffllama-tiny"


def looked_up_parameters(config):
    """Embeddings that no product reads."""
    return 0 if config.get("tie_word_embeddings") else config["vocab_size"] * config["hidden_size"]


def result_of(samples, parameters, looked_up, usage, **fields):
    seconds = statistics.median(samples)
    tokens = fields["batch"] * fields["tokens"]
    return {
        **fields, "parameters": parameters, "seconds": seconds, "tokens_per_second": tokens / seconds,
        "gflops": 6e-9 * (parameters - looked_up) * tokens / seconds, "gflops_all": 6e-9 * parameters * tokens / seconds,
        "samples": samples, "peak_bytes": resource.getrusage(usage).ru_maxrss * 1024,
    }


def measure_diffllama(program, model, dtype, batch, tokens, threads, steps):
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        words = "the king of a far land saw ships come over the grey sea at dawn and said nothing".split()
        text = " ".join(words[i * i % 17] for i in range((steps + 1) * batch * tokens))  # a token a word, at least
        (work / "text.txt").write_text(text)
        recipe = {
            "model": {"from": str(model), "tokenizer": str(TOKENIZER)},
            "data": {"kind": "text", "train": [str(work / "text.txt")], "sequence_length": tokens, "packing": False},
            "training": {"max_steps": steps + 1, "batch_size": batch, "dtype": dtype},
            "optimizer": {"learning_rate": 1e-5},
            "checkpoints": {"output_dir": str(work / "out"), "save_steps": 0},
        }
        (work / "recipe.json").write_text(json.dumps(recipe))
        done = subprocess.run([program, "train", work / "recipe.json", "-t", str(threads)], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            sys.exit(f"{program}: {done.stdout}")
        lines = [json.loads(line) for line in (work / "out" / "metrics.jsonl").read_text().splitlines()]
    samples = [batch * tokens / line["tokens_per_second"] for line in lines[1:] if "tokens_per_second" in line]
    parameters = int(done.stdout.split()[0])
    looked_up = looked_up_parameters(json.loads((pathlib.Path(model) / "config.json").read_text()))
    return result_of(samples, parameters, looked_up, resource.RUSAGE_CHILDREN, model=str(model), engine="diffllama",
                     attention=None, dtype=dtype, batch=batch, tokens=tokens, threads=threads,
                     mfu=statistics.median(line["mfu"] for line in lines[1:] if "mfu" in line))


def measure_transformers(attention, model, dtype, batch, tokens, threads, steps):
    import torch
    import transformers

    torch.set_num_threads(threads)
    config = transformers.AutoConfig.from_pretrained(model)
    config.use_cache = False
    net = transformers.AutoModelForCausalLM.from_pretrained(model, config=config, dtype=torch.float32,
                                                            attn_implementation=attention).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-5, fused=True)
    ids = torch.randint(config.vocab_size, (steps + 1, batch, tokens), generator=torch.Generator().manual_seed(0))
    samples, parts = [], {"forward": [], "backward": [], "optimizer": []}
    for step in range(steps + 1):
        times = [time.perf_counter()]
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = net(input_ids=ids[step], labels=ids[step]).loss
        times.append(time.perf_counter())
        loss.backward()
        times.append(time.perf_counter())
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter())
        if not torch.isfinite(loss):
            sys.exit(f"{model}: expected a finite loss, got {loss.item()}")
        if step > 0:
            samples.append(times[3] - times[0])
            for name, begin, end in zip(parts, times, times[1:]):
                parts[name].append(end - begin)
    parameters = sum(p.numel() for p in net.parameters())
    return result_of(samples, parameters, looked_up_parameters(config.to_dict()), resource.RUSAGE_SELF,
                     model=str(model), engine="transformers", attention=attention, dtype=dtype, batch=batch,
                     tokens=tokens, threads=threads,
                     parts={name: statistics.median(values) for name, values in parts.items()},
                     torch=torch.__version__, transformers=transformers.__version__)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("models", nargs="+", metavar="MODEL_DIR")
    parser.add_argument("--program", help="the diffllama binary; absent: transformers alone")
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--attention", nargs="*", default=["sdpa", "eager"])
    parser.add_argument("--dtype", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        settings = (options.models[0], options.dtype[0], options.batch[0], options.tokens, options.threads, options.steps)
        if options.program:
            print(json.dumps(measure_diffllama(options.program, *settings)))
        else:
            print(json.dumps(measure_transformers(options.attention[0], *settings)))
        return
    engines = [["--program", options.program]] if options.program else []
    engines += [["--attention", attention] for attention in options.attention]
    results = []
    for model, dtype, batch, engine in itertools.product(options.models, options.dtype, options.batch, engines):
        command = [sys.executable, pathlib.Path(__file__), "--one", model, "--batch", batch, "--tokens", options.tokens,
                   "--threads", options.threads, "--steps", options.steps, "--dtype", dtype, *engine]
        done = subprocess.run([str(part) for part in command], check=True, text=True, stdout=subprocess.PIPE,
                              stderr=None if options.program in engine else subprocess.DEVNULL)
        results.append(json.loads(done.stdout))
        last = results[-1]
        print(f"{model} {dtype} {last['engine']} {last['attention'] or ''} batch {batch}: {last['seconds']:.3f} s, "
              f"{last['tokens_per_second']:.1f} tokens/s, {last['peak_bytes'] / 1e9:.2f} GB", file=sys.stderr, flush=True)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
