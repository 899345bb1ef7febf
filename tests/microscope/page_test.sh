#!/usr/bin/env bash
# The page of `diffllama attention` in a browser: what it draws are the numbers of --json, it fits a phone, and nothing is
# said on the console. page_test.sh DIFFLLAMA SOURCE_DIR; status 77 (skipped) where there is no Chromium.
set -euo pipefail
program=$1
source=$2
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || {
  echo "skipped: no chromium in PATH"
  exit 77
}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# look NAME WIDTH CELLS BROWSER_OPTION... -- ATTENTION_OPTION...: makes the page, and opens it with the probe, in a frame: a
# window is never narrower than 500.
look() {
  local name=$1 width=$2 cells=$3
  shift 3
  local browser_options=()
  while [[ $1 != -- ]]; do
    browser_options+=("$1")
    shift
  done
  shift
  "$program" attention "$@" -o "$scratch/$name.html" --json > "$scratch/$name.json"
  {
    cat "$scratch/$name.html"
    printf '<script type="application/json" id="expected">'
    sed 's/</\\u003c/g' "$scratch/$name.json"
    printf '</script><script>'
    cat "$source/tests/microscope/page_probe.js"
    printf '</script>'
  } > "$scratch/$name-probed.html"
  cat > "$scratch/$name-framed.html" << END
<!DOCTYPE html><body style="margin: 0">
<iframe src="$name-probed.html" style="border: 0; width: ${width}px; height: 900px"></iframe><pre id="said"></pre>
<script>addEventListener("message", (event) => { document.getElementById("said").textContent = event.data; });</script>
END
  timeout 120 "$browser" --headless=new --no-sandbox --disable-gpu --user-data-dir="$scratch/profile" \
    --enable-logging=stderr --window-size=1300,1000 --virtual-time-budget=20000 "${browser_options[@]}" \
    --dump-dom "file://$scratch/$name-framed.html" > "$scratch/$name.dom" 2> "$scratch/$name.log"
  if grep CONSOLE "$scratch/$name.log"; then
    echo "$name: expected nothing on the console, got the lines above"
    exit 1
  fi
  if ! grep -q "probe: all well, $cells cells" "$scratch/$name.dom"; then
    echo "$name: expected \"probe: all well, $cells cells\", got $(grep -o '"said">[^<]*' "$scratch/$name.dom" || echo nothing)"
    exit 1
  fi
}

tiny=$source/models/diffllama-tiny
# 6 layers of 4 pairs, 3 maps of 8 x 8 each.
look desktop 1200 4608 -- -m "$tiny" -p "My lord, the king is here" --answer king
look phone 360 0 --force-dark-mode -- -m "$tiny" --layer 2 --head 1 \
  -p "$(head -c 1200 "$source/tests/data/documents.jsonl")"

# The longest class name, and lambda by token. The model has 56 tokens: text of single bytes that are among them.
mkdir "$scratch/v2"
cp "$source/tests/golden/forward/v2_causal/"{config.json,model.safetensors} "$tiny"/tokenizer{,_config}.json "$scratch/v2"
look v2 360 1944 -- -m "$scratch/v2" -p '#$%&*+/=' --answer '%&'
