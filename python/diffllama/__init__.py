"""DiffLlama's documented classes of transformers, backed by a native C++ engine.

    from diffllama import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained()          # the small model that ships
    model = AutoModelForCausalLM.from_pretrained()
    ids = model.generate(**tokenizer("HAMLET:", return_tensors="np"), max_new_tokens=32)
    print(tokenizer.decode(ids[0], skip_special_tokens=True))
"""

from importlib.metadata import PackageNotFoundError, version

from ._core import ConfigError, Error, FormatError, InvalidArgument, IoError, TrainingError
from .added_tokens import AddedToken
from .batch_encoding import BatchEncoding
from .cache import Cache, DynamicCache, StaticCache
from .configuration import AutoConfig, DiffLlamaConfig, LlamaConfig, PreTrainedConfig, PretrainedConfig
from .engine import Ending, Engine, NewToken, PromptResult, Refusal, StepEvents
from .generation import GenerationMixin, set_seed
from .generation_config import GenerationConfig
from .hub import default_model
from .logits_process import (
    LogitNormalization,
    LogitsProcessor,
    LogitsProcessorList,
    MinLengthLogitsProcessor,
    MinNewTokensLengthLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from .microscope import AttentionReport, attention_report, lambdas
from .modeling import (
    DiffLlamaForCausalLM,
    DiffLlamaForQuestionAnswering,
    DiffLlamaForSequenceClassification,
    DiffLlamaForTokenClassification,
    DiffLlamaModel,
    LlamaForCausalLM,
    LlamaForQuestionAnswering,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
    LlamaModel,
)
from .modeling_auto import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)
from .modeling_utils import PreTrainedModel
from .outputs import ModelOutput
from .pipelines import (
    FeatureExtractionPipeline,
    Pipeline,
    QuestionAnsweringPipeline,
    TextClassificationPipeline,
    TextGenerationPipeline,
    TokenClassificationPipeline,
    pipeline,
)
from .stopping_criteria import (
    EosTokenCriteria,
    MaxLengthCriteria,
    MaxTimeCriteria,
    StopStringCriteria,
    StoppingCriteria,
    StoppingCriteriaList,
)
from .streamers import AsyncTextIteratorStreamer, BaseStreamer, TextIteratorStreamer, TextStreamer
from .tokenization import AutoTokenizer, PreTrainedTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from .training import ProgressCallback, TrainerCallback, TrainingResult, train

try:
    __version__ = version("diffllama")
except PackageNotFoundError:  # used from a source tree
    __version__ = "0+source"

__all__ = [
    "AddedToken",
    "AsyncTextIteratorStreamer",
    "AttentionReport",
    "AutoConfig",
    "AutoModel",
    "AutoModelForCausalLM",
    "AutoModelForQuestionAnswering",
    "AutoModelForSequenceClassification",
    "AutoModelForTokenClassification",
    "AutoTokenizer",
    "BaseStreamer",
    "BatchEncoding",
    "Cache",
    "ConfigError",
    "DiffLlamaConfig",
    "DiffLlamaForCausalLM",
    "DiffLlamaForQuestionAnswering",
    "DiffLlamaForSequenceClassification",
    "DiffLlamaForTokenClassification",
    "DiffLlamaModel",
    "DynamicCache",
    "Ending",
    "Engine",
    "EosTokenCriteria",
    "Error",
    "FeatureExtractionPipeline",
    "FormatError",
    "GenerationConfig",
    "GenerationMixin",
    "InvalidArgument",
    "IoError",
    "LlamaConfig",
    "LlamaForCausalLM",
    "LlamaForQuestionAnswering",
    "LlamaForSequenceClassification",
    "LlamaForTokenClassification",
    "LlamaModel",
    "LogitNormalization",
    "LogitsProcessor",
    "LogitsProcessorList",
    "MaxLengthCriteria",
    "MaxTimeCriteria",
    "MinLengthLogitsProcessor",
    "MinNewTokensLengthLogitsProcessor",
    "ModelOutput",
    "NewToken",
    "NoRepeatNGramLogitsProcessor",
    "Pipeline",
    "PreTrainedConfig",
    "PreTrainedModel",
    "PreTrainedTokenizer",
    "PreTrainedTokenizerBase",
    "PreTrainedTokenizerFast",
    "PretrainedConfig",
    "ProgressCallback",
    "PromptResult",
    "QuestionAnsweringPipeline",
    "Refusal",
    "RepetitionPenaltyLogitsProcessor",
    "StaticCache",
    "StepEvents",
    "StopStringCriteria",
    "StoppingCriteria",
    "StoppingCriteriaList",
    "SuppressTokensLogitsProcessor",
    "TemperatureLogitsWarper",
    "TextClassificationPipeline",
    "TextGenerationPipeline",
    "TextIteratorStreamer",
    "TextStreamer",
    "TokenClassificationPipeline",
    "TopKLogitsWarper",
    "TopPLogitsWarper",
    "TrainerCallback",
    "TrainingError",
    "TrainingResult",
    "attention_report",
    "default_model",
    "lambdas",
    "pipeline",
    "set_seed",
    "train",
]
