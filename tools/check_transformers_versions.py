"""Loads what `diffllama` writes in several versions of transformers, and compares logits and token ids with the program's own.

usage: check_transformers_versions.py DIFFLLAMA PYTHON...

DIFFLLAMA is the program. Each PYTHON is an interpreter (of a virtual environment) with torch, safetensors and one version of
transformers, 4.48 or later. Directories are made as users make them: `convert` there and back, `train`, and the model that ships;
among them one for each rotary type, from config.json files in the style of transformers 5 and of those before. Exit status 1
where a logit is further than 1e-4 of the largest from the program's, or an id differs. What nothing in a config.json can mend is
told and does not count: versions before 4.57 may ignore yarn's original length, and never change to longrope's long factors.
"""
import json, subprocess, sys, tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GOLDENS = ROOT / "tests/golden/forward"
TINY = ROOT / "models/diffllama-tiny"
IDS = [3, 17, 40, 5, 22, 31, 8, 47, 12, 9, 44, 27, 6, 33, 19, 2, 7, 46, 30, 11, 25, 41, 14, 36]
TEXTS = ["To be, or not to be", " naïve  café\n\n", "<s>HAMLET:</s> 1234 ' s", ""]
TOLERANCE = 1e-4

# Run in each version: argv is the directory, the ids; prints logits of the last token, and the ids of the texts.
LOADER = """
import json, sys, warnings
warnings.filterwarnings("ignore")
import torch, transformers
transformers.logging.set_verbosity_error()
torch.set_num_threads(2)
asked = json.load(sys.stdin)
print(json.dumps({"version": transformers.__version__}))
for folder, ids in zip(asked["folders"], asked["ids"]):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).float().eval()
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, -1].tolist()
    found = {"logits": logits}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        tokenizer = None
        found["tokenizer"] = str(error).splitlines()[0]
    if tokenizer is not None:
        found["ids"] = [tokenizer(text)["input_ids"] for text in asked["texts"]]
        found["named"] = [tokenizer.bos_token_id, tokenizer.eos_token_id]
    print(json.dumps(found))
"""


def run(program, *arguments, stdin=None):
    return subprocess.run([program, *map(str, arguments)], input=stdin, stdout=subprocess.PIPE, text=True, check=True).stdout


def make_folders(program, scratch):
    folders = [TINY]
    for golden in sorted(GOLDENS.iterdir()):
        config = golden / "config.json"
        causal = config.exists() and "ForCausalLM" in config.read_text()
        if not causal or "gradients" in golden.name or not ("rope" in golden.name or golden.name.endswith("_causal")):
            continue
        target = scratch / golden.name
        if "dynamic" in config.read_text() and golden.name.startswith("llama"):
            continue  # GGUF's llama has no key for it
        run(program, "convert", golden, scratch / "m.gguf")
        run(program, "convert", scratch / "m.gguf", target)
        folders.append(target)
    # A file whose keys alone say what the model is.
    run(program, "convert", ROOT / "tests/golden/gguf/llama.gguf", scratch / "from_llama_cpp")
    folders.append(scratch / "from_llama_cpp")
    recipe = ["--set", "data.kind=text", "--set", f"data.train={ROOT}/README.md", "--set", "data.sequence_length=64",
              "--batch-size", "2", "--max-steps", "1"]
    run(program, "train", "-m", TINY, "-o", scratch / "trained", *recipe)
    folders.append(scratch / "trained/last")
    return folders


def own_answers(program, folder, scratch):
    import numpy as np
    from safetensors.numpy import load_file, save_file
    save_file({"input_ids": np.array([ids_for(folder)], np.int64)}, scratch / "in.safetensors")
    run(program, "forward", "-m", folder, "--inputs", scratch / "in.safetensors", "--outputs", scratch / "out.safetensors", "--logits-to-keep", 1)
    answers = {"logits": load_file(scratch / "out.safetensors")["logits"][0, -1].tolist()}
    if (folder / "tokenizer.json").exists():
        answers["ids"] = [json.loads(run(program, "tokenize", "--json", "-m", folder, stdin=text))["ids"] for text in TEXTS]
    return answers


def ids_for(folder):
    size = json.loads((folder / "config.json").read_text())["vocab_size"]
    return [i % size for i in IDS]


def old(version):
    return tuple(map(int, version.split(".")[:2])) < (4, 57)


def rope_type(folder):
    config = json.loads((folder / "config.json").read_text())
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    return rope.get("rope_type", rope.get("type", "default"))


def main():
    program, pythons = sys.argv[1], sys.argv[2:]
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        folders = make_folders(program, scratch)
        own = [own_answers(program, folder, scratch) for folder in folders]
        asked = {"folders": [str(folder) for folder in folders], "ids": [ids_for(folder) for folder in folders], "texts": TEXTS}
        for python in pythons:
            result = subprocess.run([python, "-c", LOADER], input=json.dumps(asked), capture_output=True, text=True)
            lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
            if len(lines) != len(folders) + 1:
                print(f"FAIL {python}: {result.stderr.strip().splitlines()[-1] if result.stderr else 'no answer'}")
                failed += 1
                if not lines:
                    continue
            version, worst = lines[0]["version"], 0.0
            for folder, mine, theirs in zip(folders, own, lines[1:]):
                largest = max(map(abs, mine["logits"]))
                difference = max(abs(a - b) for a, b in zip(mine["logits"], theirs["logits"])) / largest
                if not (old(version) and rope_type(folder) in ("yarn", "longrope")):
                    worst = max(worst, difference)
                if not difference <= TOLERANCE or len(mine["logits"]) != len(theirs["logits"]):
                    known = old(version) and rope_type(folder) in ("yarn", "longrope")
                    print(f"{'known' if known else 'FAIL'}: transformers {version} {folder.name}: logits differ by {difference:.1e}")
                    failed += not known
                if "ids" in mine and mine["ids"] != theirs.get("ids"):
                    print(f"FAIL transformers {version} {folder.name}: ids {theirs.get('ids', theirs.get('tokenizer'))}, not {mine['ids']}")
                    failed += 1
            print(f"transformers {version}: {len(lines) - 1} directories, logits at most {worst:.1e} of the largest apart")
    sys.exit(1 if failed else 0)


main()
