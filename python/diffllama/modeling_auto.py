"""AutoModel...: the class of a model by its files, and of other members of the family by its head."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from . import hub
from .configuration import PretrainedConfig, read_config
from .modeling import (
    BaseModel,
    DiffLlamaForCausalLM,
    DiffLlamaForQuestionAnswering,
    DiffLlamaForSequenceClassification,
    DiffLlamaForTokenClassification,
    DiffLlamaModel,
    ForCausalLM,
    ForQuestionAnswering,
    ForSequenceClassification,
    ForTokenClassification,
    LlamaForCausalLM,
    LlamaForQuestionAnswering,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
    LlamaModel,
)
from .modeling_utils import PreTrainedModel

_FAMILY: dict[str, dict[str, type[PreTrainedModel]]] = {
    "diffllama": {
        "Model": DiffLlamaModel,
        "ForCausalLM": DiffLlamaForCausalLM,
        "ForSequenceClassification": DiffLlamaForSequenceClassification,
        "ForQuestionAnswering": DiffLlamaForQuestionAnswering,
        "ForTokenClassification": DiffLlamaForTokenClassification,
    },
    "llama": {
        "Model": LlamaModel,
        "ForCausalLM": LlamaForCausalLM,
        "ForSequenceClassification": LlamaForSequenceClassification,
        "ForQuestionAnswering": LlamaForQuestionAnswering,
        "ForTokenClassification": LlamaForTokenClassification,
    },
}


class _Auto:
    """Finds the class of a model by its model_type; other members of the family (docs/variants.md)
    come as the head's common class."""

    common: ClassVar[type[PreTrainedModel]] = BaseModel

    @classmethod
    def _class_for(cls, model_type: str) -> type[PreTrainedModel]:
        return _FAMILY.get(model_type, {}).get(cls.common.head, cls.common)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str] | None = None, *model_args: Any, **kwargs: Any
    ) -> Any:
        """As PreTrainedModel.from_pretrained, of the class that the model's files name."""
        path = hub.find_model(
            pretrained_model_name_or_path, revision=kwargs.get("revision", "main"), cache_dir=kwargs.get("cache_dir"),
            subfolder=kwargs.get("subfolder", ""), gguf_file=kwargs.get("gguf_file"),
        )
        found = cls._class_for(read_config(path)["model_type"])
        return found.from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)

    @classmethod
    def from_config(cls, config: PretrainedConfig, **kwargs: Any) -> Any:
        """A new model of that configuration, as PreTrainedModel.from_config."""
        return cls._class_for(config.model_type).from_config(config, **kwargs)


class AutoModel(_Auto):
    __doc__ = _Auto.__doc__


class AutoModelForCausalLM(_Auto):
    __doc__ = _Auto.__doc__
    common = ForCausalLM


class AutoModelForSequenceClassification(_Auto):
    __doc__ = _Auto.__doc__
    common = ForSequenceClassification


class AutoModelForQuestionAnswering(_Auto):
    __doc__ = _Auto.__doc__
    common = ForQuestionAnswering


class AutoModelForTokenClassification(_Auto):
    __doc__ = _Auto.__doc__
    common = ForTokenClassification
