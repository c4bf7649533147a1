// The Node API says what is wrong with its arguments: a diagnostic with code and help, never a TypeError from inside.
import { inspect } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  DiagnosticError,
  chat,
  generate,
  load,
  loadChatTemplate,
  loadTokenizer,
  proceed,
  score,
  stream,
  type Model,
  type Session,
} from "../../runtime/index.ts";
import { CpuDevice } from "../../runtime/devices/cpu.ts";
import { tiny } from "../run/compiled.ts";
import { manifest, openToy } from "./toy.ts";

let model: Model<CpuDevice>;
let session: Session;
beforeAll(async () => {
  model = await openToy(manifest, "synthetic:1", { threads: 1 });
  session = model.session({ maxTokens: 32, sequences: 2 });
});
afterAll(() => model.close());

type Loose = (...args: unknown[]) => Promise<unknown>;
const loose =
  (f: unknown): Loose =>
  async (...args) =>
    (f as Loose)(...args);
const first =
  (f: unknown): Loose =>
  async (...args) =>
    (f as (...a: unknown[]) => AsyncGenerator<unknown>)(...args).next();
const of =
  (name: keyof Session): Loose =>
  async (...args) =>
    (session[name] as unknown as Loose).call(session, ...args);
const other = {
  encode: () => [1],
  decode: () => "",
  stream: () => ({}),
  folder: "nowhere",
  config: {},
  around: { before: [], after: [] },
};

describe.each<[string, Loose, ...unknown[][]]>([
  [
    "load",
    loose(load),
    [],
    [5],
    ["x"],
    ["x", null],
    ["x", {}],
    ["x", { weights: 5 }],
    ["x", { weights: "synthetic:1", threads: 0 }],
    ["x", { weights: "synthetic:1", threads: 1.5 }],
    ["x", { weights: "a", nvcc: 1 }],
    ["x", { weights: "a", thread: 1 }],
    ["x", { weights: "a" }],
  ],
  [
    "session",
    async (o) => model.session(o as never),
    [{ sequences: NaN }],
    [{ sequences: "x" }],
    [{ sequences: -5 }],
    [{ maxTokens: "9" }],
    [{ maxtokens: 9 }],
    [5],
    [null],
    [[]],
  ],
  ["prefill", of("prefill"), [], [null], ["text"], [["text"]], [[1, 2]], [[[1.5]]], [[["1"]]], [[[99]]], [[null]], [{}], [[]]],
  ["extend", of("extend"), [], [5], [["x"]]],
  ["decode", of("decode"), [], ["x"], [["x"]], [[1.5]], [[undefined]]],
  ["add", of("add"), [], ["abc"], [[]]],
  ["verify", of("verify"), [], [[5]]],
  ["draft", of("draft"), [[[1]], "x"], [[[1]], new Float32Array(3)], [[[1]]]],
  ["truncate", of("truncate"), [], [0, -1], [0, 1.5], [0, 2, -5], [0, 2, NaN], [-1, 0], ["0", 0]],
  ["cached", of("cached"), [], ["0"], [-1], [[null, Symbol("x")]]],
  ["generate", first(generate), [], [5, [[1]], { maxNew: 1 }], [Promise.resolve(), [[1]], { maxNew: 1 }]],
  [
    "generate on a model",
    (...a) => first(generate)(model, ...a),
    [],
    [[[1]]],
    ["abc", { maxNew: 1 }],
    [["abc"], { maxNew: 1 }],
    [[[1]], {}],
    [[[1]], { maxNew: "1" }],
    [[[1]], { maxNew: 1, stop: 5 }],
    [[[1]], { maxNew: 1, stop: ["x"] }],
    [[[1]], { maxNew: 1, signal: {} }],
    [[[1]], { maxNew: 1, bogus: 1 }],
    [[[1]], { maxNew: 1, temperature: "1" }],
    [[[1]], { maxNew: 1, topK: 1.5 }],
    [[[1]], { maxNew: 1, draft: "1" }],
    [[[1]], { maxNew: 1, ahead: 1 }],
    [[], { maxNew: 1 }],
    [[[]], { maxNew: 1 }],
  ],
  ["proceed", (...a) => first(proceed)(session, ...a), [], [[[1]]], ["x", { maxNew: 1 }]],
  ["score", (...a) => loose(score)(model, ...a), [], ["x"], [[1], { window: "9" }], [[1], { signal: 1 }], [[1], { windows: 2 }]],
  [
    "stream",
    (...a) => first(stream)(model, ...a),
    [],
    [5, "x", { maxNew: 1 }],
    [other, 5, { maxNew: 1 }],
    [other, "x"],
    [other, "x", { max: 1 }],
  ],
  [
    "chat",
    (...a) => loose(chat)(model, ...a),
    [],
    [5],
    [other, 5],
    [other, { system: 5 }],
    [other, { maxnew: 5 }],
    [other, { temperature: "1" }],
    [other, { maxNew: 0 }],
    [other, { draft: 9 }],
  ],
  ["loadTokenizer", loose(loadTokenizer), [], [5], [null]],
  ["loadChatTemplate", loose(loadChatTemplate), [], [5]],
])("%s", (_, call, ...cases) => {
  test.each(cases.map((c) => [inspect(c, { depth: 2 }), c] as const))("%s", async (__, args) => {
    const error = await call(...args).then(
      () => undefined,
      (e: unknown) => e,
    );
    expect(error).toBeInstanceOf(DiagnosticError);
    const { diagnostics, code } = error as DiagnosticError;
    expect(code).toMatch(/^DSC50\d\d$/);
    expect(diagnostics[0].help).toBeTruthy();
  });
});

test("a misspelt option is told the nearest one", async () => {
  await expect(first(generate)(model, [[1]], { maxnew: 1 })).rejects.toThrow(
    /DSC5038.*generate has no option maxnew.*did you mean maxNew\?/s,
  );
});

test("null is an option that is not set", async () => {
  const ids = async (options: object): Promise<unknown> =>
    ((await first(generate)(model, [[1, 2]], { maxNew: 1, ...options })) as { value: { ids: number[][] } }).value.ids;
  expect(await ids({ temperature: null, topK: null, topP: null, repeatPenalty: null, seed: null })).toEqual(await ids({}));
});

test("the states of more rows than a call had are refused", async () => {
  const result = await session.prefill([[1, 2, 3], [4]]);
  expect(result.hidden(0, 3).length).toBe(12);
  for (const rows of [4, -1, 1e6, 1.5, NaN, "1"])
    expect(() => result.hidden(0, rows as number)).toThrow(/DSC5039.*hidden: rows/s);
  expect(() => result.hidden(1, 2)).toThrow(/DSC5039/);
  expect(() => result.logits(0, -1)).toThrow(/DSC5033/);
});

test("what a model and a session are is one line, and a block can close them", async () => {
  expect(inspect(model)).toMatch(/^Model \{ Toy for cpu: 2 layers, 4 wide, 11 ids, 64 positions, .* of weights \}$/);
  expect(inspect(session)).toMatch(/^Session \{ .* \}$/);
  const another = await openToy(manifest, "synthetic:1", { threads: 1 });
  await another[Symbol.asyncDispose]();
  await expect(another.session().prefill([[1]])).rejects.toThrow(/DSC5033.*closed/s);
  const s = model.session();
  s[Symbol.dispose]();
  await expect(s.prefill([[1]])).rejects.toThrow(/DSC5033.*closed/s);
});

test("messages of a conversation are looked at before the template is", async () => {
  const template = await loadChatTemplate(await loadTokenizer(tiny));
  for (const messages of [undefined, "x", [null], [{ content: "x" }], [5]])
    expect(() => template.render(messages as never)).toThrow(/DSC5039/);
});
