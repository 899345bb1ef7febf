#!/usr/bin/env python3
"""Writes tests/golden/chat/assistant_masks.json: conversations in templates with {% generation %} blocks, their ids and the
assistant's tokens as transformers' apply_chat_template(return_assistant_tokens_mask=True) gives them, which is what TRL's
assistant_only_loss trains on. Needs transformers (5.24.0); the tokenizer is that of models/diffllama-tiny."""

import json
from pathlib import Path

from transformers import AutoTokenizer

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "tests" / "golden" / "chat" / "assistant_masks.json"

TEMPLATES = [
    # The turn's end counts, the newline behind it does not.
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' }}{%- if m.role == 'assistant' %}{% generation %}"
    "{{- m.content + '<|im_end|>' }}{%- endgeneration %}{{- '\\n' }}{%- else %}{{- m.content + '<|im_end|>\\n' }}{%- endif %}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}",
    # Headers and BOS; the content alone counts.
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}]\n\n{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim }}"
    "{% endgeneration %}{% else %}{{ m.content }}{% endif %}{{ eos_token }}{% endfor %}",
    # Thinking that is shown in the last turn alone, and calls of tools.
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ 'A:' }}{% generation %}{% if loop.last and m.thinking %}<think>"
    "{{ m.thinking }}</think>{% endif %}{{ ' ' + m.content }}{% for call in m.calls or [] %}\n[{{ call }}]{% endfor %}{{ '\n' }}"
    "{% endgeneration %}{% else %}{{ m.role | title }}: {{ m.content }}\n{% endif %}{% endfor %}",
]
CONVERSATIONS = [
    [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Who are you?"},
        {"role": "assistant", "content": " A friend.\n", "thinking": "Who am I"},
        {"role": "user", "content": "assistant\n"},
        {"role": "assistant", "content": "Yes, indeed. \N{GRINNING FACE} cafe\N{COMBINING ACUTE ACCENT}", "thinking": "so it is"},
    ],
    [
        {"role": "user", "content": "How far is it?"},
        {"role": "assistant", "content": "Let me see", "calls": ["far(1)", "near(2)"]},
        {"role": "tool", "content": "two miles"},
        {"role": "assistant", "content": "Two miles."},
        {"role": "user", "content": "Thank you"},
    ],
]


def main():
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "models" / "diffllama-tiny")
    cases = []
    for template in TEMPLATES:
        for messages in CONVERSATIONS:
            encoded = tokenizer.apply_chat_template(
                messages, chat_template=template, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
            )
            cases.append({
                "template": template, "messages": messages, "ids": encoded["input_ids"], "mask": encoded["assistant_masks"],
            })
    OUT.write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
    print(f"{len(cases)} conversations")


if __name__ == "__main__":
    main()
