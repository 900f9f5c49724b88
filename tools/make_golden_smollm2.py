#!/usr/bin/env python3
"""Write tests/golden/smollm2.json: what Hugging Face transformers computes with a real model, SmolLM2-135M-Instruct.

    python3 tools/make_golden_smollm2.py FOLDER

FOLDER is the model as a Hugging Face folder in bf16; the weights are not part of the repository. For each prompt the
file holds the token ids, 24 greedy tokens (products in float32) and their log-probabilities.
"""
import hashlib, json, pathlib, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = ["What is the capital of France?", "Write a short poem about rain.", "Explain what a hash table is.",
           "List three fruits.", "Translate to French: good morning", "def fibonacci(n):"]
TOKENS = 24


def main():
    folder = pathlib.Path(sys.argv[1])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    cases = []
    for number, prompt in enumerate(PROMPTS):
        if number == len(PROMPTS) - 1:
            ids = tokenizer(prompt)["input_ids"]
        else:
            text = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False)
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        tokens, scores, gaps = list(ids), [], []
        with torch.no_grad():
            past, step = None, torch.tensor([tokens])
            for _ in range(TOKENS):
                output = model(step, past_key_values=past, use_cache=True)
                past, logits = output.past_key_values, output.logits[0, -1].double()
                best = int(logits.argmax())
                scores.append(round(float(torch.log_softmax(logits, 0)[best]), 6))
                top = torch.topk(logits, 2).values
                gaps.append(float(top[0] - top[1]))
                tokens.append(best)
                step = torch.tensor([[best]])
        print(repr(tokenizer.decode(tokens[len(ids):])), "closest choice", min(gaps))
        cases.append({"prompt": ids, "tokens": tokens[len(ids):], "logprobs": scores})
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    target = pathlib.Path(__file__).parent.parent / "tests/golden/smollm2.json"
    target.write_text(json.dumps({"sha256": digest, "cases": cases}) + "\n")


main()
