#!/usr/bin/env python3
"""Draws what `diffllama train` wrote: loss by tokens, training and validation, of one run or several.

usage: plot_metrics.py OUT.svg NAME=RUN/metrics.jsonl [NAME=...] [--layers] [--log] [--smooth 20]

With --layers two pictures more: by layer lambda, and the RMS that enters differential attention's norm, its mean as a
line and its smallest value dotted. Runs without them (Llama) are left out there. Training loss is the running mean over --smooth steps, at no more than 1000 places. Needs matplotlib."""

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


def read_layers(path):
    """{name: [(tokens, values by layer)]} of the lines that have them."""
    found = {"lambda": [], "rms": [], "smallest_rms": []}
    with open(path, encoding="utf-8") as lines:
        for metrics in map(json.loads, lines):
            for name, points in found.items():
                if name in metrics:
                    points.append((metrics["tokens"], metrics[name]))
    return found


def draw_layers(axes, path, run, field, style="-", width=20):
    """A line for each layer, from the first in light to the last in dark."""
    points = read_layers(path)[field]
    layers = len(points[0][1]) if points else 0
    for layer in range(layers):
        line = smoothed([(tokens, values[layer]) for tokens, values in points], width)
        shade = matplotlib.colormaps["viridis_r"]((layer + 1) / (layers + 1))
        label = f"{run}, layer {layer}" if style == "-" and layer in (0, layers - 1) else None
        axes.plot(*zip(*line), style, color=shade, linewidth=1, label=label)


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
    parser.add_argument("--layers", action="store_true", help="lambda and the norm's RMS by layer")
    parser.add_argument("--log", action="store_true", help="logarithmic loss")
    parser.add_argument("--smooth", type=int, default=20)
    options = parser.parse_args()

    panels = 3 if options.layers else 1
    figure, all_axes = plt.subplots(panels, figsize=(7, 4 * panels), squeeze=False)
    axes = all_axes[0, 0]
    for number, run in enumerate(options.runs):
        name, _, path = run.rpartition("=")
        steps, evaluations = read(path)
        color = f"C{number}"
        axes.plot(*zip(*smoothed(steps, options.smooth)), color=color, alpha=0.5, linewidth=1,
                  label=f"{name or path}, training")
        if evaluations:
            axes.plot(*zip(*evaluations), color=color, marker="o", markersize=3,
                      label=f"{name or path}, validation")
    axes.set_ylabel("loss (nats a token)")
    if options.log:
        axes.set_yscale("log")
    if options.layers:
        for run in options.runs:
            name, _, path = run.rpartition("=")
            draw_layers(all_axes[1, 0], path, name or path, "lambda", width=options.smooth)
            draw_layers(all_axes[2, 0], path, name or path, "rms", width=options.smooth)
            draw_layers(all_axes[2, 0], path, name or path, "smallest_rms", ":", options.smooth)
        all_axes[1, 0].set_ylabel("lambda")
        all_axes[2, 0].set_ylabel("RMS before the norm")
    for each in all_axes[:, 0]:
        each.set_xlabel("tokens")
        each.xaxis.set_major_formatter(matplotlib.ticker.EngFormatter())
        each.grid(alpha=0.3)
        if each.get_legend_handles_labels()[0]:
            each.legend()
    figure.tight_layout()
    figure.savefig(options.out, metadata={"Date": None} if options.out.endswith(".svg") else None)


if __name__ == "__main__":
    main()
