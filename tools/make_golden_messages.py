#!/usr/bin/env python3
"""Writes tests/golden/text/messages.json: what transformers makes of the messages that clients send.

Needs transformers and jinja2; the versions used are in the file. The templates are those of tests/golden/text/templates.
A row is a template, a case and the prompt that Tokenizer.apply_chat_template() renders. Lists of text parts reach a
template that goes through them; the rest get them joined here, since transformers leaves them to fail or to lose text.
"""

import json
import pathlib

import jinja2
import transformers
from transformers.utils import chat_template_utils

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "text"
TEMPLATES = ["chatml", "gemma", "gemma3", "llama3", "llama31", "mistral_v1", "phi3", "qwen2", "qwen25", "qwen3", "zephyr"]
FIXED = {"bos_token": "<s>", "eos_token": "</s>", "date_string": "1 Jan 2025"}


def user(content):
    return {"role": "user", "content": content}


def part(text):
    return {"type": "text", "text": text}


# As the official client writes an answer that it sends back.
def dumped(content, **more):
    return {"content": content, "refusal": None, "role": "assistant", "annotations": None, "audio": None,
            "function_call": None, "tool_calls": None, **more}


CASES = {
    "nulls": {"messages": [user("Hello"), dumped("Hi"), user("Bye")]},
    "reasoning": {"messages": [user("1+1?"), dumped("2", reasoning="Easy."), user("2+2?"), dumped("4", thinking="Too easy.")]},
    "parts": {"messages": [user([part("What "), part("is it?")])]},
    "parts_of_all": {"messages": [{"role": "system", "content": [part("Be brief.")]}, user([part("Hello")]),
                                  {"role": "assistant", "content": [part("Hi"), part(" there.")]}, user("Bye")]},
    "open": {"messages": [user("Hello"), dumped("Sure, the answer")], "open": True},
    "open_blank": {"messages": [user("Hello"), dumped(" Sure, the answer ")], "open": True},
    "open_parts": {"messages": [user("Hello"), dumped([part("Sure, "), part("the")])], "open": True},
    "open_user": {"messages": [user("Once upon")], "open": True},
    "open_empty": {"messages": [user("Hello"), dumped("")], "open": True},
}


def joined(messages):
    return [{**message, "content": "".join(each["text"] for each in message["content"])}
            if isinstance(message["content"], list) else message for message in messages]


def render(source, case, messages):
    normal = chat_template_utils._normalize_chat_messages(messages)
    open_ = case.get("open", False)
    texts, _ = chat_template_utils.render_jinja_template(
        [normal], chat_template=source, add_generation_prompt=not open_, continue_final_message=open_, **FIXED)
    return texts[0]


def shows_parts(text, messages):
    parts = [each["text"] for message in messages if isinstance(message["content"], list) for each in message["content"]]
    return "'type'" not in text and all(each.strip() in text for each in parts)


def row(source, case):
    parts = any(isinstance(message["content"], list) for message in case["messages"])
    try:
        text = render(source, case, json.loads(json.dumps(case["messages"])))
        if shows_parts(text, case["messages"]):
            return {"text": text}
    except (jinja2.exceptions.TemplateError, ValueError, TypeError) as error:
        if not parts:
            return {"fails": str(error).splitlines()[0]}
    try:
        return {"text": render(source, case, joined(case["messages"])), "joined": True}
    except (jinja2.exceptions.TemplateError, ValueError, TypeError) as error:
        return {"fails": str(error).splitlines()[0]}


def main():
    rows = []
    for template in TEMPLATES:
        source = (FOLDER / "templates" / f"{template}.jinja").read_text(encoding="utf-8")
        for name, case in CASES.items():
            rows.append({"template": template, "case": name, **row(source, case)})
    head = json.dumps({"transformers": transformers.__version__, "jinja2": jinja2.__version__,
                       "command": "tools/make_golden_messages.py", "variables": FIXED, "cases": CASES})
    lines = ",\n".join(json.dumps(each, ensure_ascii=False) for each in rows)
    (FOLDER / "messages.json").write_text(head[:-1] + ', "rows": [\n' + lines + "\n]}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
