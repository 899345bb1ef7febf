"""The model classes that transformers documents for DiffLlama and Llama: the layers and the four heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from . import _core
from .arrays import Array
from .cache import DynamicCache
from .configuration import DiffLlamaConfig, LlamaConfig, PretrainedConfig
from .generation import GenerationConfig, GenerationMixin
from .modeling_utils import PreTrainedModel
from .outputs import (
    BaseModelOutputWithPast,
    CausalLMOutputWithPast,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutputWithPast,
    TokenClassifierOutput,
)


class BaseModel(PreTrainedModel):
    """The layers without a head."""

    head = "Model"
    base_model_prefix = ""
    output_class = BaseModelOutputWithPast

    def forward(
        self,
        input_ids: Array | None = None,
        attention_mask: Array | None = None,
        position_ids: Array | None = None,
        past_key_values: DynamicCache | None = None,
        inputs_embeds: Array | None = None,
        use_cache: bool | None = None,
        *,
        cache: DynamicCache | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Runs the layers once.

        input_ids: int [B, T], or inputs_embeds: float32 [B, T, C]. attention_mask: [B, S] or
        [B, 1, T, S], 1 where a key may be seen; None: all. position_ids: int [B, T]; None: 0..T-1
        after what the cache holds. past_key_values (or cache): a DynamicCache whose tokens come
        before; None: a new one where use_cache is (config.use_cache). output_attentions: the
        softmax maps, L of [B, H, T, S]. output_hidden_states: L + 1 of [B, T, C].
        return_dict: False for a tuple. Returns BaseModelOutputWithPast. Raises InvalidArgument.
        """
        return self._forward(
            input_ids, inputs_embeds, attention_mask, position_ids, past_key_values, use_cache, cache=cache,
            output_attentions=output_attentions, output_hidden_states=output_hidden_states, return_dict=return_dict,
            others=kwargs,
        )


class ForCausalLM(PreTrainedModel, GenerationMixin):
    """A language model: the layers with lm_head."""

    head = "ForCausalLM"
    output_class = CausalLMOutputWithPast
    loss_arguments = True

    def _adopt(self, core: _core.Model, path: Path | None, config: PretrainedConfig) -> None:
        super()._adopt(core, path, config)
        self.generation_config = GenerationConfig.of_model(path, config)

    def _take_options(self, generation_config: Any, tokens: dict[str, Any]) -> None:
        if generation_config is not None:
            self.generation_config = GenerationConfig(**generation_config.to_dict())
        self.generation_config.update(**tokens)

    def _save_more(self, directory: Path) -> None:
        self.generation_config.save_pretrained(directory)

    def can_generate(self) -> bool:
        """True."""
        return True

    def forward(
        self,
        input_ids: Array | None = None,
        attention_mask: Array | None = None,
        position_ids: Array | None = None,
        past_key_values: DynamicCache | None = None,
        inputs_embeds: Array | None = None,
        labels: Array | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Array = 0,
        *,
        cache: DynamicCache | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        output_gradients: bool = False,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Runs the model once: logits float32 [B, T, V].

        Inputs as BaseModel.forward has them. labels: int [B, T], -100 where none counts; gives the
        loss of the next tokens, whose backward() adds gradients to the parameters; ignore_index in
        place of -100; num_items_in_batch: what the sum is divided by; shift_labels: of the next
        tokens already. logits_to_keep: logits of the last N tokens alone (0: of all), or of the tokens
        with these indices. output_gradients: a dictionary `gradients` by parameter name.
        Returns CausalLMOutputWithPast. Raises InvalidArgument, and TypeError for other arguments.
        """
        return self._forward(
            input_ids, inputs_embeds, attention_mask, position_ids, past_key_values, use_cache, labels,
            logits_to_keep=logits_to_keep, cache=cache, output_attentions=output_attentions,
            output_hidden_states=output_hidden_states, output_gradients=output_gradients, return_dict=return_dict,
            others=kwargs,
        )


class ForSequenceClassification(PreTrainedModel):
    """Classifies a text by its last token that is not padding."""

    head = "ForSequenceClassification"
    output_class = SequenceClassifierOutputWithPast

    def forward(
        self,
        input_ids: Array | None = None,
        attention_mask: Array | None = None,
        position_ids: Array | None = None,
        past_key_values: DynamicCache | None = None,
        inputs_embeds: Array | None = None,
        labels: Array | None = None,
        use_cache: bool | None = None,
        *,
        cache: DynamicCache | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        output_gradients: bool = False,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Runs the model once: logits float32 [B, num_labels].

        Inputs as BaseModel.forward has them. labels: int [B] (classes), float [B] (num_labels 1:
        regression) or float [B, num_labels] (several classes at once); config.problem_type says
        which where it is set. Returns SequenceClassifierOutputWithPast. Raises InvalidArgument, also
        for more than one text where config.pad_token_id is None.
        """
        if getattr(self.config, "pad_token_id", None) is None and _batch_size(input_ids, inputs_embeds) > 1:
            raise _core.InvalidArgument("Cannot handle batch sizes > 1 if no padding token is defined.")
        return self._forward(
            input_ids, inputs_embeds, attention_mask, position_ids, past_key_values, use_cache, labels, cache=cache,
            output_attentions=output_attentions, output_hidden_states=output_hidden_states,
            output_gradients=output_gradients, return_dict=return_dict, others=kwargs,
        )


class ForQuestionAnswering(PreTrainedModel):
    """Finds where an answer begins and ends in a text."""

    head = "ForQuestionAnswering"
    base_model_prefix = "transformer"
    output_class = QuestionAnsweringModelOutput

    def forward(
        self,
        input_ids: Array | None = None,
        attention_mask: Array | None = None,
        position_ids: Array | None = None,
        past_key_values: DynamicCache | None = None,
        inputs_embeds: Array | None = None,
        start_positions: Array | None = None,
        end_positions: Array | None = None,
        *,
        cache: DynamicCache | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        output_gradients: bool = False,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Runs the model once: start_logits and end_logits float32 [B, T].

        Inputs as BaseModel.forward has them. start_positions, end_positions: int [B], both for a
        loss; one alone gives none. Returns QuestionAnsweringModelOutput. Raises InvalidArgument.
        """
        if start_positions is None or end_positions is None:
            start_positions = end_positions = None
        return self._forward(
            input_ids, inputs_embeds, attention_mask, position_ids, past_key_values, kwargs.pop("use_cache", None),
            None, start_positions, end_positions, keeps_cache=False, cache=cache, output_attentions=output_attentions,
            output_hidden_states=output_hidden_states, output_gradients=output_gradients, return_dict=return_dict,
            others=kwargs,
        )


class ForTokenClassification(PreTrainedModel):
    """Labels each token."""

    head = "ForTokenClassification"
    output_class = TokenClassifierOutput
    loss_arguments = True

    def forward(
        self,
        input_ids: Array | None = None,
        attention_mask: Array | None = None,
        position_ids: Array | None = None,
        past_key_values: DynamicCache | None = None,
        inputs_embeds: Array | None = None,
        labels: Array | None = None,
        use_cache: bool | None = None,
        *,
        cache: DynamicCache | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        output_gradients: bool = False,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Runs the model once: logits float32 [B, T, num_labels].

        Inputs as BaseModel.forward has them. labels: int [B, T], -100 where none counts.
        Returns TokenClassifierOutput. Raises InvalidArgument.
        """
        return self._forward(
            input_ids, inputs_embeds, attention_mask, position_ids, past_key_values, use_cache, labels,
            keeps_cache=False, cache=cache, output_attentions=output_attentions,
            output_hidden_states=output_hidden_states, output_gradients=output_gradients, return_dict=return_dict,
            others=kwargs,
        )


def _batch_size(input_ids: Array | None, inputs_embeds: Array | None) -> int:
    given = input_ids if input_ids is not None else inputs_embeds
    return 0 if given is None else np.shape(given)[0] if isinstance(given, (list, tuple)) else int(given.shape[0])


class DiffLlamaModel(BaseModel):
    __doc__ = BaseModel.__doc__
    config_class = DiffLlamaConfig


class DiffLlamaForCausalLM(ForCausalLM):
    __doc__ = ForCausalLM.__doc__
    config_class = DiffLlamaConfig


class DiffLlamaForSequenceClassification(ForSequenceClassification):
    __doc__ = ForSequenceClassification.__doc__
    config_class = DiffLlamaConfig


class DiffLlamaForQuestionAnswering(ForQuestionAnswering):
    __doc__ = ForQuestionAnswering.__doc__
    config_class = DiffLlamaConfig


class DiffLlamaForTokenClassification(ForTokenClassification):
    __doc__ = ForTokenClassification.__doc__
    config_class = DiffLlamaConfig


class LlamaModel(BaseModel):
    __doc__ = BaseModel.__doc__
    config_class = LlamaConfig


class LlamaForCausalLM(ForCausalLM):
    __doc__ = ForCausalLM.__doc__
    config_class = LlamaConfig


class LlamaForSequenceClassification(ForSequenceClassification):
    __doc__ = ForSequenceClassification.__doc__
    config_class = LlamaConfig


class LlamaForQuestionAnswering(ForQuestionAnswering):
    __doc__ = ForQuestionAnswering.__doc__
    config_class = LlamaConfig


class LlamaForTokenClassification(ForTokenClassification):
    __doc__ = ForTokenClassification.__doc__
    config_class = LlamaConfig
