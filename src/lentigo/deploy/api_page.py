"""The API's documentation as one plain page, made from its OpenAPI: no script, nothing from elsewhere."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { max-width: 52rem; margin: 0 auto; padding: 1rem; }
h2 { margin-top: 2.5rem; border-top: 1px solid; padding-top: 1rem; }
code, pre { font-family: ui-monospace, monospace; }
pre { overflow-x: auto; padding: .75rem; border: 1px solid; border-radius: .3rem; }
table { border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: .2rem 1.2rem .2rem 0; }
"""


def api_page(schema: Mapping[str, Any]) -> str:
    """The page, in English.

    Args:
        schema: an OpenAPI 3.1 document.
    """
    title, about = escape(schema["info"]["title"]), escape(schema["info"].get("description", ""))
    operations = [
        part
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
        for part in _operation(method.upper(), path, operation)
    ]
    named = schema.get("components", {}).get("schemas", {})
    shapes = [part for name, shape in named.items() for part in _shape(name, shape)]
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<title>{title}</title><link rel="stylesheet" href="docs.css"></head><body><main>',
            f"<h1>{title}</h1><p>{about}</p>",
            '<p>For programs: <a href="openapi.json">openapi.json</a> (OpenAPI 3.1).</p>',
            *operations,
            "<h2>Answers</h2>",
            *shapes,
            "</main></body></html>",
        ]
    )


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2><code>{escape(method)} {escape(path)}</code></h2>"
    yield f"<p>{escape(operation.get('description') or operation.get('summary', ''))}</p>"
    if example := operation.get("x-example"):
        yield f"<pre>{escape(example)}</pre>"
    asked = [(p["name"], _kind(p["schema"]), p.get("description", "")) for p in operation.get("parameters", [])]
    for content, body in operation.get("requestBody", {}).get("content", {}).items():
        fields = body["schema"]["properties"].items()
        asked += [(name, f"file, in {content}", field.get("description", "")) for name, field in fields]
    yield from _table(("asked", "kind", "what it is"), asked)
    given = [(code, answer["description"]) for code, answer in sorted(operation["responses"].items())]
    yield from _table(("answer", "when"), given)


def _shape(name: str, shape: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h3>{escape(name)}</h3><p>{escape(shape.get('description', ''))}</p>"
    rows = [(key, _kind(value), value.get("description", "")) for key, value in shape.get("properties", {}).items()]
    yield from _table(("key", "kind", "what it is"), rows)


def _kind(schema: Mapping[str, Any]) -> str:
    """A type in words, for instance `number or null`."""
    if "anyOf" in schema:
        return " or ".join(_kind(option) for option in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return str(schema.get("type", "anything"))


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    if not rows:
        return
    yield "<table><tr>" + "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header) + "</tr>"
    for row in rows:
        yield "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
    yield "</table>"
