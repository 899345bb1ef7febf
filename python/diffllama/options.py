"""Arguments of transformers' that say how and where to compute: what is done here is accepted, all else refused."""

from __future__ import annotations

import re
import sys
import warnings
from typing import Any

from . import _core
from .arrays import has_torch
from .configuration import dtype_name
from .hub import FETCHING

# Of from_pretrained: those that change no result here, whatever they say. Nothing is downloaded or run from a file.
_WITHOUT_EFFECT = FETCHING | {
    "disable_mmap", "ignore_mismatched_sizes", "low_cpu_mem_usage", "max_memory", "offload_buffers", "offload_folder",
    "offload_state_dict", "use_safetensors", "weights_only",
}
# And those that must ask for what is done here.
_ONLY: dict[str, tuple[Any, ...]] = {
    "attn_implementation": (None, "eager", "sdpa"),
    "device_map": (None, "auto", "cpu"),
    "experts_implementation": (None, "eager"),
    "from_flax": (None, False),
    "from_tf": (None, False),
    "fusion_config": (None,),
    "key_mapping": (None,),
    "load_in_4bit": (None, False),
    "load_in_8bit": (None, False),
    "output_loading_info": (None, False),
    "quantization_config": (None,),
    "state_dict": (None,),
    "tp_plan": (None,),
    "tp_size": (None, 1),
    "use_flash_attention_2": (None, False),
    "variant": (None,),
}
_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


class Device(str):
    """Where a model is, where torch is not imported: a text with `type`, as torch.device has."""

    @property
    def type(self) -> str:
        """The text."""
        return str(self)


def device() -> Any:
    """The processor, as torch.device where torch is imported."""
    return sys.modules["torch"].device("cpu") if has_torch() else Device("cpu")


def take(class_name: str, kwargs: dict[str, Any], dtype: Any) -> Any:
    """Takes such arguments out of `kwargs`; returns dtype, or torch_dtype where it is among them.

    Raises InvalidArgument for one that asks for what is not done here.
    """
    for name in list(kwargs):
        if name == "torch_dtype":
            dtype = kwargs[name] if kwargs[name] is not None else dtype
        elif name in _ONLY:
            value = kwargs[name]
            if name == "device_map":
                value = _one_device(value)
            if not any(value is each or value == each for each in _ONLY[name]):
                expected = ", ".join(str(each) for each in _ONLY[name])
                raise _core.InvalidArgument(f"{class_name}: {name}: expected one of {expected}, got {kwargs[name]!r}")
        elif name not in _WITHOUT_EFFECT:
            continue
        del kwargs[name]
    return dtype


def _one_device(value: Any) -> Any:
    if isinstance(value, dict) and len({str(each) for each in value.values()}) == 1:
        value = next(iter(value.values()))
    return str(value) if type(value).__module__.startswith("torch") else value


def compute_type(dtype: Any, stored: Any = None) -> str:
    """What the engine calls a type of products. dtype: what was asked for; stored: else.

    float16 is computed in float32, with a warning. Raises ConfigError for others.
    """
    name = dtype_name(dtype)
    if name is None:  # what a configuration says of files is no wish
        name = dtype_name(stored)
        return name if name in ("float32", "bfloat16") else "auto"
    if name == "float16":
        warnings.warn("dtype: float16 is computed in float32", UserWarning, stacklevel=3)
        return "float32"
    if name not in ("auto", "float32", "bfloat16"):
        raise _core.ConfigError(f"dtype: expected auto, float32, bfloat16 or float16 (in float32), got {name}")
    return name


def check_to(own_dtype: str | None, *args: Any, **kwargs: Any) -> None:
    """Raises InvalidArgument unless to(*args, **kwargs) changes nothing."""
    for name in ("device", "dtype"):
        args += (kwargs.get(name),)
    for value in args:
        if value is None or isinstance(value, bool):  # non_blocking, copy
            continue
        name = dtype_name(value) or ""
        if type(value).__name__ == "Tensor":
            check_to(own_dtype, value.device, value.dtype)
        elif isinstance(value, int) or name.partition(":")[0] in ("cuda", "mps", "xpu", "tpu", "npu", "hpu", "meta"):
            raise _core.InvalidArgument(f"device: expected cpu, got {value}")
        elif name.startswith(("float", "bfloat", "half", "double")) and name != own_dtype:
            raise _core.InvalidArgument(
                f"dtype: expected {own_dtype}, which from_pretrained(dtype=...) sets once for all, got {name}"
            )


def check_saving(state_dict: Any, push_to_hub: bool, variant: str | None, safe_serialization: bool) -> None:
    """Raises InvalidArgument for what save_pretrained does not do."""
    if state_dict is not None:
        raise _core.InvalidArgument("state_dict: expected None, for the model's own parameters are written; load_state_dict sets them")
    if push_to_hub:
        raise _core.InvalidArgument("push_to_hub: expected False, for nothing is sent, got True")
    if variant is not None:
        raise _core.InvalidArgument(f"variant: expected None, for the file is model.safetensors, got {variant!r}")
    if not safe_serialization:
        raise _core.InvalidArgument("safe_serialization: expected True, got False")


def check_shard(size: int | str, bytes_of_model: int) -> None:
    """Raises InvalidArgument where a model, at most so large, does not fit one file of `size`."""
    match = re.fullmatch(r"([0-9.]+)\s*([A-Z]+)", str(size).upper()) if isinstance(size, str) else None
    if isinstance(size, str) and (match is None or match[2] not in _UNITS):
        raise _core.InvalidArgument(f"max_shard_size: expected bytes, or a text such as 5GB, got {size!r}")
    limit = size if isinstance(size, int) else float(match[1]) * _UNITS[match[2]] if match else 0
    if bytes_of_model > limit:
        raise _core.InvalidArgument(
            f"max_shard_size: expected at least the {bytes_of_model} bytes that one file may take, got {size!r}"
        )
