# Writes expected.json: what Python's Jinja, with the settings transformers gives it, makes of every line of snippets.txt and of every
# file of templates/. A line is a template; "\n" in it stands for nothing special. Needs jinja2 and transformers.
import json
import pathlib

from transformers.utils.chat_template_utils import _compile_jinja_template

here = pathlib.Path(__file__).parent
variables = json.loads((here / "variables.json").read_text(encoding="utf-8"))


def render(template, given):
    try:
        return _compile_jinja_template(template).render(**given)
    except Exception as e:  # noqa: BLE001, any failure is an answer
        return {"error": type(e).__name__, "message": str(e)}


lines = (here / "snippets.txt").read_bytes().decode().split("\n¶\n")
out = {"snippets": [[t, render(t, variables)] for t in lines if t], "templates": {}}
conversations = json.loads((here / "conversations.json").read_text(encoding="utf-8"))
for f in sorted((here / "templates").glob("*.jinja")):
    out["templates"][f.name] = [render(f.read_bytes().decode(), c) for c in conversations]
(here / "expected.json").write_text(json.dumps(out, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
