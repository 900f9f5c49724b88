#!/usr/bin/env python3
"""Writes tests/golden/text/jinja/: what Jinja's sandbox, set up as transformers sets it up, makes of small templates.

    python3 tools/make_golden_jinja.py

Needs jinja2 and transformers; the versions used are in the files.

cases.json  [template, text] or [template, null] where rendering fails, for the lines of tools/jinja_cases.txt. Lines
    without statements are cut into one template for every {{ ... }}.
names.json  the filters, tests, globals, words of statements, methods and attributes that Jinja and Python have.
"""

import datetime
import json
import pathlib

import jinja2
import jinja2.defaults
import jinja2.parser
import jinja2.runtime
import transformers
from transformers.utils import chat_template_utils

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden" / "text" / "jinja"
VERSIONS = {"jinja2": jinja2.__version__, "transformers": transformers.__version__,
            "command": "tools/make_golden_jinja.py"}

# What the templates of the cases see.
VARIABLES = {
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"},
                 {"role": "assistant", "content": None, "tool_calls": [{"name": "f", "arguments": {"x": 1}}]}],
    "tools": None,
    "numbers": [3, 1, 2],
    "people": [{"name": "Ada", "age": 36, "city": "London"}, {"name": "bob", "age": 7, "city": "Paris"},
               {"name": "Cy", "age": 36, "city": "london"}],
    "tree": [{"n": "a", "c": [{"n": "b", "c": [{"n": "c", "c": []}]}, {"n": "d", "c": []}]}, {"n": "e", "c": []}],
    "big": 123456789012345678901234567890,
    "text": "The quick brown fox",
    "real": 2.5,
    "empty": [],
}
FIXED_NOW = (2024, 7, 26, 12, 34, 56)


class FixedTime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(*FIXED_NOW)


def rendered(source):
    try:
        return chat_template_utils._compile_jinja_template(source).render(**json.loads(json.dumps(VARIABLES)))
    except Exception:
        return None


def cut(case):
    """The {{ ... }} of a line without statements one by one."""
    if "{%" in case:
        return [case]
    try:
        tokens = list(jinja2.Environment().lex(case))
    except jinja2.TemplateSyntaxError:
        return [case]
    out, open_tag = [], None
    for _, kind, text in tokens:
        if kind == "variable_begin":
            open_tag = ""
        if open_tag is not None:
            open_tag += text
        if kind == "variable_end":
            out.append(open_tag)
            open_tag = None
    return out


def public(names):
    return sorted(name for name in names if not name.startswith("_"))


def main():
    chat_template_utils.datetime = FixedTime
    GOLDEN.mkdir(parents=True, exist_ok=True)
    cases = (ROOT / "tools" / "jinja_cases.txt").read_text(encoding="utf-8").split("\n")
    # "\n" in a case is a line end; a line that begins with "#" and a blank is a heading.
    cases = [case.replace("\u23ce", "\n") for case in cases if case and not case.startswith("# ")]
    rows = [[case, rendered(case)] for line in cases for case in cut(line)]
    for case, text in rows:
        assert text is None or " object at 0x" not in text, case
    head = json.dumps({**VERSIONS, "variables": VARIABLES})
    body = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    (GOLDEN / "cases.json").write_text(head[:-1] + ', "rows": [\n' + body + "\n]}\n")

    environment = chat_template_utils._compile_jinja_template("").environment
    macro = environment.from_string("{% macro f() %}{% endmacro %}").module.f
    words = set(jinja2.parser._statement_keywords) | {"elif", "else", "endif", "call", "filter", "raw", "recursive"}
    words |= {"end" + word for word in ("for", "if", "block", "macro", "set", "with", "autoescape", "call", "filter", "raw")}
    for extension in environment.extensions.values():
        words |= set(extension.tags)
    words.add("endgeneration")
    names = {
        "filters": sorted(environment.filters), "tests": sorted(environment.tests), "globals": sorted(environment.globals),
        "statements": sorted(words),
        "str": public(dir("")), "list": public(dir([])), "tuple": public(dir(())), "dict": public(dir({})),
        "int": public(dir(1)), "float": public(dir(1.0)), "range": public(dir(range(1))),
        "loop": public(dir(jinja2.runtime.LoopContext)), "macro": public(vars(macro)),
        "cycler": public(dir(jinja2.utils.Cycler)),
    }
    (GOLDEN / "names.json").write_text(json.dumps({**VERSIONS, **names}, indent=0) + "\n")
    print(f"{len(rows)} cases, {sum(text is None for _, text in rows)} of them fail")


if __name__ == "__main__":
    main()
