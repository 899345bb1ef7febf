"""lm-evaluation-harness on this engine: the model "diffllama".

    python -m diffllama.lm_eval --model diffllama --model_args pretrained=DIR --tasks ...

is `lm_eval` with the model registered: the harness finds models of other packages once they are
imported, and `import diffllama.lm_eval` is what registers this one in a script of one's own.
"""

from __future__ import annotations

from typing import Any

from lm_eval import utils
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text

from .engine import Engine, StepEvents
from .modeling_auto import AutoModelForCausalLM
from .tokenization import AutoTokenizer


@register_model("diffllama")
class DiffLlamaLM(TemplateLM):  # type: ignore[misc]
    """A causal language model of this engine; what the harness's "hf" model computes.

    pretrained: directory, .gguf file or cached name. tokenizer: another's. dtype, adapter, threads,
    revision, subfolder, cache_type: as from_pretrained has them. max_length: window; None is
    max_position_embeddings. max_gen_toks: where a task says none. add_bos_token: None is the
    tokenizer's way. memory_bytes: of keys and values. batch_size: that many requests run at once.
    """

    backend = "causal"

    def __init__(
        self,
        pretrained: str,
        tokenizer: str | None = None,
        dtype: str = "auto",
        adapter: str | None = None,
        revision: str = "main",
        subfolder: str = "",
        threads: int = 0,
        cache_type: str = "auto",
        max_length: int | None = None,
        max_gen_toks: int = 256,
        add_bos_token: bool | None = None,
        memory_bytes: int = 1 << 30,
        batch_size: int | str = 64,
        device: str | None = None,
        max_batch_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        place = {"revision": revision, "subfolder": subfolder}
        self.tokenizer = AutoTokenizer.from_pretrained(tokenizer or pretrained, **place)
        self.model = AutoModelForCausalLM.from_pretrained(
            pretrained, dtype=dtype, adapter=adapter, threads=threads, cache_type=cache_type, **place
        )
        self._name = tokenizer or pretrained
        self.max_length = max_length or self.model.config.max_position_embeddings
        self.max_gen_toks = max_gen_toks
        self.add_bos_token = add_bos_token
        many = int(batch_size) if str(batch_size).isdigit() and int(batch_size) > 1 else 64
        self.engine = Engine(self.model, self.tokenizer, memory_bytes=memory_bytes, max_sequences=many)

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that nothing comes before."""
        bos = self.tokenizer.bos_token_id
        return int(self.eot_token_id if bos is None else bos)

    @property
    def tokenizer_name(self) -> str:
        """For the harness's caches of requests."""
        return self._name.replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Ids of a text, with special tokens unless it begins with BOS itself."""
        special = self.add_bos_token if add_special_tokens is None else add_special_tokens
        bos = self.tokenizer.bos_token
        if special is None:
            special = not (bos and string.startswith(bos))
        return list(self.tokenizer.encode(string, add_special_tokens=special))

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A conversation as the model's template writes it."""
        return str(
            self.tokenizer.apply_chat_template(
                chat_history, tokenize=False, add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        )

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The template's text, where one is asked for."""
        return self.tokenizer.chat_template if chat_template else None

    def _run(self) -> StepEvents:
        events = self.engine.step()
        for refusal in events.refusals:
            raise RuntimeError(refusal.message)
        return events

    def _loglikelihood_tokens(
        self, requests: list[tuple[Any, list[int], list[int]]], disable_tqdm: bool = False, **kwargs: Any
    ) -> list[tuple[float, bool]]:
        found: list[tuple[float, bool]] = [(0.0, True)] * len(requests)
        waiting = {}
        for number, (_, context, continuation) in enumerate(requests):
            ids = (context + continuation)[-(self.max_length + 1) :]
            waiting[self.engine.add(ids, prompt_only=True, prompt_logprobs=1)] = (number, ids, len(continuation))
        while waiting:
            for prompt in self._run().prompts:
                number, ids, count = waiting.pop(prompt.request)
                last = list(zip(ids[1:], prompt.logprobs))[-count:]
                total = sum(logprob for _, (logprob, _) in last)
                greedy = all(top[0][0] == token for token, (_, top) in last)
                found[number] = (total, greedy)
                if requests[number][0] is not None:
                    self.cache_hook.add_partial("loglikelihood", requests[number][0], found[number])
        return found

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """The log-likelihood of whole texts, in windows that each token is predicted once in."""
        windows, counts = [], []
        for request in requests:
            own = [
                utils.make_disjoint_window(window)
                for window in utils.get_rolling_token_windows(
                    token_list=self.tok_encode(request.args[0]), prefix_token=self.prefix_token_id,
                    max_seq_len=self.max_length, context_len=1,
                )
            ]
            windows += [(None, *window) for window in own]
            counts.append(len(own))
        values = iter(self._loglikelihood_tokens(windows))
        return [sum(next(values)[0] for _ in range(count)) for count in counts]

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Continues contexts up to what each asks for."""
        texts = [""] * len(requests)
        waiting: dict[int, tuple[int, list[int], list[str]]] = {}
        eos = self.tokenizer.decode(self.eot_token_id)
        for number, request in enumerate(requests):
            context, given = request.args
            options: dict[str, Any] = dict(normalize_gen_kwargs(given, self.max_gen_toks))
            until = handle_stop_sequences(options.pop("until", None), eos)
            count = options.pop("max_gen_toks")
            room = self.max_length - count
            if room <= 0:
                raise ValueError(f"max_gen_toks: expected less than the model's {self.max_length} tokens, got {count}")
            for name in ("max_length", "use_cache"):
                options.pop(name, None)
            if not options.get("do_sample"):
                options.pop("temperature", None)
            ids = self.tok_encode(context)[-room:]
            stops = [text for text in until if text and text != eos]
            request_id = self.engine.add(ids, max_new_tokens=count, stop_strings=stops or None, **options)
            waiting[request_id] = (number, [], until)
        while waiting:
            events = self._run()
            for token in events.tokens:
                waiting[token.request][1].append(token.id)
            for ending in events.endings:
                number, ids, until = waiting.pop(ending.request)
                text = self.tokenizer.decode(ids, skip_special_tokens=False)
                texts[number] = postprocess_generated_text(text, until, None)
                self.cache_hook.add_partial("generate_until", requests[number].args, texts[number])
        return texts


def main() -> None:
    """`lm_eval`, with this model among those that it knows."""
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()


if __name__ == "__main__":
    main()
