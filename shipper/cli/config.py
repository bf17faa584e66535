"""``shipper config``: the configuration's schema, what is in effect, and every default."""

import argparse
import json
import os

SUMMARY = "the schema for editors, the values in effect with their origins, or all defaults"
DOCUMENTS = {
    "schema": "the JSON Schema, for editors and linters",
    "show": "every value in effect, and the file, variable or default that it comes from",
    "default": "a file with every key, explained, and its default",
}

WIDEST = 50
"""Longer values push their origins to the right."""


def arguments(parser: argparse.ArgumentParser) -> None:
    lines = [f"  {name:<9} {says}\n" for name, says in DOCUMENTS.items()]
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "documents:\n" + "".join(lines)
    parser.add_argument("document", choices=tuple(DOCUMENTS), metavar=f"({' | '.join(DOCUMENTS)})")


def run(options: argparse.Namespace) -> int:
    """The document on stdout. Only ``show`` reads a configuration."""
    match options.document:
        case "schema":
            from shipper.config.schema_json import schema

            print(json.dumps(schema(), indent=2, ensure_ascii=False))
        case "default":
            from shipper.config.commented import defaults

            print(defaults(), end="")
        case _:
            print("\n\n".join(_shown(options.config)))
    return 0


def _shown(path: str | None) -> list[str]:
    """The tables in TOML, with the origins in comments."""
    from shipper.config.load import load_with_documents
    from shipper.config.origins import sections

    configuration, documents = load_with_documents(path, os.environ)
    shown = []
    for section in sections(configuration, documents, os.environ):
        lines = [(f"{one.key} = {one.value}", one.origin) for one in section.settings]
        width = min(WIDEST, max(len(text) for text, _ in lines))
        said = [f"{text:<{width}}  # {origin}" for text, origin in lines]
        shown.append("\n".join([section.head, *said] if section.head else said))
    return shown
