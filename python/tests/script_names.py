"""Where the models of the scripts lie."""

from pathlib import Path

_GOLDEN = Path(__file__).resolve().parent / "golden"
NAMES = {
    "TINY": str(Path(__file__).resolve().parents[2] / "models" / "diffllama-tiny"),
    "SEQUENCE": str(_GOLDEN / "sequence"),
    "ANSWER": str(_GOLDEN / "answer"),
    "TOKENS": str(_GOLDEN / "tokens"),
}
