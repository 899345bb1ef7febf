"""Two prompts at once, as asynchronous streams."""

import asyncio

from diffllama import AutoModelForCausalLM, AutoTokenizer, Engine

engine = Engine(AutoModelForCausalLM.from_pretrained(), AutoTokenizer.from_pretrained())


async def answer(prompt: str) -> str:
    pieces = []
    async for token in engine.generate(prompt, max_new_tokens=16):
        pieces.append(token.text)
    return "".join(pieces)


async def main() -> None:
    for text in await asyncio.gather(answer("HAMLET:"), answer("To be, or")):
        print(text)


asyncio.run(main())
