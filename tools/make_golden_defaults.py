#!/usr/bin/env python3
"""Writes tests/golden/language/defaults.json: the defaults of every field of transformers' config classes.

    python3 tools/make_golden_defaults.py [--check]

Needs transformers. --check writes nothing and fails when the file is not what this script writes. Only the fields that
a class declares itself: those that all classes share say nothing of what a model computes.
"""

import argparse
import dataclasses
import json
import pathlib
import sys

import transformers

FAMILIES = ("gpt2", "llama", "mistral", "opt", "phi3", "qwen2", "qwen3")


def defaults(family):
    kind = transformers.models.auto.configuration_auto.CONFIG_MAPPING[family]
    own = kind.__dict__["__annotations__"]
    return {field.name: field.default for field in dataclasses.fields(kind) if field.name in own
            and field.name not in ("model_type", "attribute_map")}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    arguments = parser.parse_args()
    path = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "language" / "defaults.json"
    text = json.dumps({family: defaults(family) for family in FAMILIES}, indent=1) + "\n"
    if not arguments.check:
        path.write_text(text)
    elif path.read_text() != text:
        sys.exit(f"{path} is not what transformers {transformers.__version__} says")


if __name__ == "__main__":
    main()
