#!/usr/bin/env python3
"""Draws what `diffllama train` wrote: loss by tokens, training and validation, of one run or several.

usage: plot_metrics.py OUT.svg NAME=RUN/metrics.jsonl [NAME=...] [--log] [--smooth 20]

Training loss is the running mean over --smooth steps, at no more than 1000 places. Needs matplotlib."""

import argparse
import json
import sys

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams["svg.hashsalt"] = "diffllama"  # the same file for the same metrics
import matplotlib.pyplot as plt  # noqa: E402
import matplotlib.ticker  # noqa: E402

PLACES = 1000  # more would not be seen, and make a large file


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
    """Means over the last `width` points, at no more than PLACES of them."""
    apart = -(-len(points) // PLACES)
    result = []
    for end in range(len(points), 0, -apart):
        window = points[max(0, end - width):end]
        result.append((window[-1][0], sum(loss for _, loss in window) / len(window)))
    return result[::-1]


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
    axes.xaxis.set_major_formatter(matplotlib.ticker.EngFormatter())
    axes.set_ylabel("loss (nats a token)")
    if options.log:
        axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(options.out, metadata={"Date": None} if options.out.endswith(".svg") else None)


if __name__ == "__main__":
    main()
