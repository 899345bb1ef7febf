#!/usr/bin/env python3
"""Draws what `diffllama train` wrote: loss by tokens, training and validation, of one run or several.

usage: plot_metrics.py OUT.svg NAME=RUN/metrics.jsonl [NAME=...] [--log] [--smooth 20]

Training loss is the running mean over --smooth lines. Needs matplotlib."""

import argparse
import json
import sys

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams["svg.hashsalt"] = "diffllama"  # the same file for the same metrics
import matplotlib.pyplot as plt  # noqa: E402


def read(path):
    """(tokens, loss) of the steps and (tokens, loss) of the evaluations."""
    steps, evaluations, tokens_at = [], [], {}
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                metrics = json.loads(line)
            except json.JSONDecodeError as error:
                sys.exit(f"plot_metrics.py: {path}:{number}: expected a JSON object, got {error}")
            if "eval_loss" in metrics:
                evaluations.append((metrics["step"], metrics["eval_loss"]))
            elif metrics.get("loss") is not None:
                tokens_at[metrics["step"]] = metrics["tokens"]
                steps.append((metrics["tokens"], metrics["loss"]))
    return steps, [(tokens_at.get(step, 0), loss) for step, loss in evaluations]


def smoothed(points, width):
    """Means over the last `width` points."""
    result, window = [], []
    for tokens, loss in points:
        window = (window + [loss])[-width:]
        result.append((tokens, sum(window) / len(window)))
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("out")
    parser.add_argument("runs", nargs="+", metavar="NAME=FILE")
    parser.add_argument("--log", action="store_true", help="logarithmic loss")
    parser.add_argument("--smooth", type=int, default=20)
    options = parser.parse_args()

    figure, axes = plt.subplots(figsize=(7, 4))
    for number, run in enumerate(options.runs):
        name, _, path = run.rpartition("=")
        steps, evaluations = read(path)
        color = f"C{number}"
        axes.plot(*zip(*smoothed(steps, options.smooth)), color=color, alpha=0.5, linewidth=1,
                  label=f"{name or path}, training")
        if evaluations:
            axes.plot(*zip(*evaluations), color=color, marker="o", markersize=3,
                      label=f"{name or path}, validation")
    axes.set_xlabel("tokens")
    axes.set_ylabel("loss (nats a token)")
    if options.log:
        axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(options.out, metadata={"Date": None} if options.out.endswith(".svg") else None)


if __name__ == "__main__":
    main()
