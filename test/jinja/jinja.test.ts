// Templates render as Python's Jinja renders them: expected.json is its word, written by expected.py.
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { Fault, LIMITS, Template } from "../../runtime/jinja/index.ts";

type Answer = string | { error: string; message: string };
const read = <T>(name: string): T => JSON.parse(readFileSync(path.join(import.meta.dirname, name), "utf8")) as T;
const { snippets, templates } = read<{ snippets: [string, Answer][]; templates: Record<string, Answer[]> }>("expected.json");
const variables = read<Record<string, unknown>>("variables.json");
const conversations = read<Record<string, unknown>[]>("conversations.json");

/** What Python can and the engine refuses by name. */
const LACKING = [/\{% include/, /random/, /encode\(/, /self is defined/];

function fault(run: () => unknown): Fault {
  try {
    run();
  } catch (e) {
    if (e instanceof Fault) return e;
    throw e;
  }
  throw new Error("nothing was refused");
}

test("every snippet is what Python's Jinja makes of it, or an error where that is one", () => {
  for (const [text, answer] of snippets) {
    const render = (): string => new Template(text).render(variables);
    if (LACKING.some((l) => l.test(text))) expect(fault(render).kind, text).toBe("unsupported");
    else if (typeof answer === "string") expect(render(), text).toBe(answer);
    else expect(fault(render), text).toMatchObject({ at: { line: expect.any(Number), column: expect.any(Number) } });
  }
});

test.each(Object.entries(templates))("%s renders every conversation as Python's Jinja does", (name, answers) => {
  const template = new Template(readFileSync(path.join(import.meta.dirname, "templates", name), "utf8"));
  for (const [i, answer] of answers.entries())
    if (typeof answer === "string") expect(template.render(conversations[i])).toBe(answer);
    else expect(fault(() => template.render(conversations[i]))).toMatchObject({ kind: "raised", message: answer.message });
});

describe("a template that would never end, or fill the memory, is refused", () => {
  const bomb =
    "{% set ns = namespace(a='xxxxxxxxxx') %}{% for i in range(99) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}{{ ns.a }}";
  test.each([
    "{% for i in range(100000) %}{% for j in range(100000) %}{{ i }}{% endfor %}{% endfor %}",
    "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(100) }}",
    bomb,
    "{{ 'x' * 10000000000 }}",
    "{{ 'x' * 400000000 ~ 'x' * 400000000 }}",
    "{{ ([1] * 100000 + [2]) * 10000 }}",
    "{{ 'a'|center(100000000000) }}{{ 'a'.zfill(9000000000) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '{:1000000000}'.format(1) }}",
    "{{ 9 ** (9 ** 9) }}",
    "{% set ns = namespace(a=9) %}{% for i in range(99) %}{% set ns.a = ns.a * ns.a %}{% endfor %}",
    "{% set ns = namespace(a=[1]) %}{% for i in range(99) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a }}",
    "{% set ns = namespace(a=[1]) %}{% for i in range(99) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a|tojson }}",
    "{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(40) %}{% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, ns.b] %}{% endfor %}{{ ns.a == ns.b }}",
    "{{ range(99999)|map('string')|join('x' * 100000) }}",
    "{% for x in tree recursive %}{{ loop(tree) }}{% endfor %}",
    "{{ 'ab' * 1000000 }}{% for i in range(99999) %}{% set z = ('ab' * 1000000).replace('a', 'b').upper().split('b') %}{% endfor %}",
    "(".repeat(3) + "{{ " + "(".repeat(100_000) + "1" + ")".repeat(100_000) + " }}",
    "{{ " + "not ".repeat(100_000) + "1 }}",
    "{{ " + "-".repeat(100_000) + "1 }}",
    "{% if 1 %}".repeat(100_000),
    "{{ " + "[".repeat(100_000),
  ])("%#", (text) => {
    const limits = { ...LIMITS, steps: LIMITS.steps / 20 };
    expect(["budget", "syntax", "unsupported"]).toContain(fault(() => new Template(text).render(variables, { limits })).kind);
  });

  test("by the limits that hold without a word", () => {
    expect(
      fault(() => new Template("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}").render({}))
        .message,
    ).toMatch(/more than \d+ steps/);
  });

  test("range ends where Jinja's sandbox ends it", () => {
    expect(fault(() => new Template("{{ range(1000000000)|length }}").render({})).message).toMatch(/Range too big.*100000/);
  });
});

test("a conversation of a million characters is far from any limit", () => {
  const messages = Array.from({ length: 200 }, (_, i) => ({ role: i % 2 ? "assistant" : "user", content: "x y ".repeat(1250) }));
  const text = new Template(readFileSync(path.join(import.meta.dirname, "templates/reasoning.jinja"), "utf8")).render({
    messages,
    tools: null,
    add_generation_prompt: true,
    bos_token: "<s>",
    eos_token: "</s>",
  });
  expect(text.length).toBeGreaterThan(900_000);
});

test("a fault names the line and the column of what is wrong", () => {
  expect(fault(() => new Template("a\n{% if x %}\n  {{ y | nothing }}{% endif %}").render({ x: true, y: 1 }))).toMatchObject({
    message: "No filter named 'nothing'.",
    at: { line: 3, column: 10 },
  });
  expect(fault(() => new Template("a\r\n{{ 1 + }}"))).toMatchObject({ kind: "syntax", at: { line: 2, column: 8 } });
  expect(fault(() => new Template("{{ 'x'.encode() }}").render({}))).toMatchObject({
    kind: "unsupported",
    message: "str.encode",
    at: { line: 1, column: 8 },
  });
});

test("the time is this machine's, written as Python writes it", () => {
  const now = (): Date => new Date(2026, 0, 5, 15, 4, 9);
  const render = (format: string): string => new Template(`{{ strftime_now(${JSON.stringify(format)}) }}`).render({}, { now });
  expect(render("%Y-%m-%d %H:%M:%S %B %b %A %a %j %y %-d %-m %I %p %e|%%")).toBe(
    "2026-01-05 15:04:09 January Jan Monday Mon 005 26 5 1 03 PM  5|%",
  );
});
