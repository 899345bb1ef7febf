"""Makes `lm_eval --model diffllama` find diffllama.lm_eval, which lm-evaluation-harness does not look for by itself.

diffllama_lm_eval.pth, beside this file in site-packages, calls install() when Python starts: it costs a line in
sys.meta_path, and nothing is imported until somebody imports lm_eval.models.
"""

import sys


class _AfterModels:
    """A finder that has this package's model registered once lm_eval's own are."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "lm_eval.models":
            return None
        from importlib.machinery import PathFinder

        sys.meta_path.remove(_AfterModels)
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                _register()

            spec.loader.exec_module = exec_module
        return spec


def _register():
    from lm_eval.api import registry

    known = getattr(registry, "model_registry", None)  # from 0.4.10 on models may be named before they are imported
    if known is None:
        import diffllama.lm_eval  # noqa: F401
    elif "diffllama" not in known:
        known.register("diffllama", target="diffllama.lm_eval:DiffLlamaLM")


def install():
    """Before lm_eval.models is imported; a second call changes nothing."""
    if _AfterModels not in sys.meta_path and "lm_eval.models" not in sys.modules:
        sys.meta_path.insert(0, _AfterModels)
