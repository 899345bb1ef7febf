"""Beam search step by step in Python, where a caller wants to see or to change each step.

The rules are those of transformers' _beam_search, as src/generation/beam_search.cpp has them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _core
from .cache import DynamicCache
from .generation_loop import Floats, Ids, Loop

_NEVER = np.float32(-1e9)  # transformers' score of what is no sequence


def _best(scores: np.ndarray[Any, Any], count: int) -> Ids:
    """Places of the largest scores of each row, of equal ones the first."""
    places = []
    for row in scores:
        least = np.partition(row, -count)[-count] if count < len(row) else row.min()
        candidates = np.flatnonzero(row >= least)
        places.append(candidates[np.argsort(-row[candidates], kind="stable")][:count])
    return np.stack(places)


def _taken(values: np.ndarray[Any, Any], places: Ids) -> np.ndarray[Any, Any]:
    return np.stack([own[chosen] for own, chosen in zip(values, places)])


class BeamLoop(Loop):
    """The beams of all prompts together: arrays [B, N, ...]."""

    def search(self, embeds: Any, past: DynamicCache | None) -> tuple[list[list[int]], Floats, dict[str, Any]]:
        """The best sequences' new ids, their scores, and what else was asked for."""
        options = self.options
        prompts, beams = len(self.prompts.rows), self.repeats
        self.most = int(options.max_new_tokens)
        self.penalty = float(1.0 if options.length_penalty is None else options.length_penalty)
        ending = len(self.config.eos_token_ids)
        count = max(2, 1 + ending) * beams
        random = np.random.default_rng(options.seed)
        rows, runner, output = self.start(embeds, past)
        self.width = rows.shape[1]
        running = np.zeros((prompts, beams), np.float32)
        running[:, 1:] = _NEVER
        origins = np.zeros((prompts, beams, 0), np.int64)  # the rows that each token came from
        done: list[list[tuple[float, list[int], list[int]]]] = [[] for _ in range(prompts)]
        may_improve = np.ones(prompts, bool)
        while True:
            length = rows.shape[1] - self.width + 1
            sequences = self._sequences(rows)
            ended = np.array([sequence.stop_reason is not None for sequence in sequences])
            scores = self.score(rows, output, sequences, None, ended, beams=True)
            vocabulary = scores.shape[1]
            sums = (scores.reshape(prompts, beams, vocabulary) + running[:, :, None]).reshape(prompts, -1)
            places = self._drawn(sums, count, random) if options.do_sample else _best(sums, count)
            sums = _taken(sums, places)
            parents, tokens = places // vocabulary, places % vocabulary
            parents = parents + np.arange(prompts)[:, None] * beams
            grown = np.concatenate([rows[parents], tokens[:, :, None]], axis=2)
            grown_origins = np.concatenate([origins.reshape(prompts * beams, -1)[parents], parents[:, :, None]], axis=2)
            ends = self._ends(grown, tokens, length)
            for b in range(prompts):
                full = len(done[b]) == beams
                if not may_improve[b] or (full and options.early_stopping is True):
                    continue
                for i in np.flatnonzero(ends[b, :beams]):
                    own = float(sums[b, i]) / length**self.penalty
                    done[b].append((own, grown[b, i, self.width :].tolist(), grown_origins[b, i].tolist()))
                done[b] = sorted(done[b], key=lambda each: -each[0])[:beams]
            chosen = _best(sums + ends * _NEVER, beams)
            running = _taken(sums + ends * _NEVER, chosen)
            rows = _taken(grown, chosen).reshape(prompts * beams, -1)
            origins = _taken(grown_origins, chosen)
            may_improve &= [self._may_improve(running[b, 0], done[b], length) for b in range(prompts)]
            full_all = all(len(each) == beams for each in done)
            if not may_improve.any() or (full_all and options.early_stopping is True) or ends.all():
                break
            runner.reorder(origins[:, :, -1].reshape(-1))
            output = runner.go_on(rows[:, -1])
        return self._result(done, rows, running, origins, runner.cache)

    def _sequences(self, rows: Ids) -> list[_core.Continuation]:
        """Of each row: new ones, for beams share what came before."""
        tokenizer = self.tokenizer if self.options.stop_strings else None
        sequences = []
        for i, row in enumerate(rows):
            sequence = _core.Continuation(self.config, self.prompts.ids[i // self.repeats], tokenizer, i % self.repeats)
            for token in row[self.width :].tolist():
                if sequence.stop_reason is None:
                    sequence.push(token)
            sequences.append(sequence)
        return sequences

    def _drawn(self, sums: Floats, count: int, random: np.random.Generator) -> Ids:
        """Places drawn from the softmax of the sums, without replacement, the largest sum first."""
        places = []
        for row in sums.astype(np.float64):
            noise = random.gumbel(size=row.shape)  # the largest of log p + noise are such a draw
            drawn = np.argsort(-(row + noise), kind="stable")[:count]
            places.append(drawn[np.argsort(-row[drawn], kind="stable")])
        return np.stack(places)

    def _ends(self, grown: Ids, tokens: Ids, length: int) -> np.ndarray[Any, Any]:
        """Which continuations [B, M] are whole sequences."""
        ends: np.ndarray[Any, Any]
        ends = np.isin(tokens, self.config.eos_token_ids) if not self.options.ignore_eos else np.zeros(tokens.shape, bool)
        ends |= length >= self.most
        flat = grown.reshape(-1, grown.shape[-1])
        if self.options.stop_strings:
            per_prompt = grown.shape[1]
            for i, row in enumerate(flat):
                sequence = _core.Continuation(self.config, self.prompts.ids[i // per_prompt], self.tokenizer, 0)
                for token in row[self.width :].tolist():
                    if sequence.stop_reason is None:
                        sequence.push(token)
                ends[i // per_prompt, i % per_prompt] |= sequence.stop_reason is not None
        ends |= self.asked_to_end(flat).reshape(ends.shape) | self.late()
        return ends

    def _may_improve(self, best: float, done: list[Any], length: int) -> bool:
        """Whether the best running beam can still become better than the worst that ended."""
        worst = done[-1][0] if len(done) == self.repeats else float(_NEVER)
        longest = self.options.early_stopping == "never" and self.penalty > 0
        return bool(float(best) / float(self.most if longest else length) ** self.penalty > worst)

    def _result(
        self, done: list[list[tuple[float, list[int], list[int]]]], rows: Ids, running: Floats, origins: Ids,
        cache: DynamicCache,
    ) -> tuple[list[list[int]], Floats, dict[str, Any]]:
        wanted = int(self.options.num_return_sequences or 1)
        beams = self.repeats
        found: list[tuple[float, list[int], list[int]]] = []
        for b, each in enumerate(done):
            left = [(float(_NEVER), rows[b * beams + i, self.width :].tolist(), origins[b, i].tolist()) for i in range(beams)]
            found += (each + left)[:wanted]  # where time is over before enough have ended
        width = max(len(ids) for _, ids, _ in found)
        indices = np.full((len(found), width), -1, np.int32)
        for row, (_, _, own) in zip(indices, found):
            row[: len(own)] = own
        extras = {**self.extras(cache), "beam_indices": self.convert(indices)}
        return [ids for _, ids, _ in found], np.array([score for score, _, _ in found], np.float32), extras
