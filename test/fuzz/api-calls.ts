// Calls of the Node API with values of every kind, good ones among them: each ends in an answer or in a diagnostic, and a session that
// was misused still gives what it gave before.
import { chat, generate, loadChatTemplate, score, stream, type Model, type Session } from "../../runtime/index.ts";
import type { CpuDevice } from "../../runtime/devices/cpu.ts";
import { manifest, openToy } from "../runtime/toy.ts";
import { Random } from "./random.ts";

type Call = (session: Session, args: unknown[]) => unknown;
const METHODS = ["prefill", "extend", "decode", "add", "verify", "draft", "truncate", "cutDraft", "cached", "run"] as const;

/** A value that may stand anywhere. */
function value(r: Random, depth = 0): unknown {
  const plain = [
    undefined,
    null,
    true,
    0,
    1,
    2,
    -1,
    1.5,
    NaN,
    Infinity,
    2 ** 53,
    1e308,
    5e-324,
    "",
    "1",
    "text",
    "synthetic:1",
    3n,
    Symbol.iterator,
    () => 1,
    new Map(),
    new Date(0),
    /x/,
    Promise.resolve([]),
    new AbortController().signal,
    new Float32Array(4),
    new Uint32Array([1, 2]),
    new DataView(new ArrayBuffer(4)),
  ];
  if (depth > 2 || r.chance(0.4)) return r.one(plain);
  if (r.chance(0.5)) return Array.from({ length: r.below(4) }, () => (r.chance(0.5) ? r.below(11) : value(r, depth + 1)));
  return Object.fromEntries(
    Array.from({ length: r.below(3) }, () => [
      r.one([
        "maxNew",
        "maxTokens",
        "sequences",
        "stop",
        "signal",
        "draft",
        "temperature",
        "window",
        "system",
        "role",
        "content",
        "__proto__",
        "length",
      ]),
      value(r, depth + 1),
    ]),
  );
}

/** Rows that are good more often than not, so that calls get further than the door. */
const rows = (r: Random): unknown =>
  r.chance(0.6)
    ? Array.from({ length: 1 + r.below(3) }, () => Array.from({ length: r.below(4) }, () => r.below(r.chance(0.95) ? 11 : 40)))
    : value(r);

function callOf(seed: number): { name: string; args: unknown[] } {
  const r = new Random(seed);
  const name = r.one([...METHODS, "session", "generate", "score", "stream", "chat", "loadChatTemplate", "result"]);
  const args = Array.from({ length: r.below(4) }, (_, i) => (i === 0 ? rows(r) : r.chance(0.5) ? r.below(5) : value(r)));
  if (name === "generate" && r.chance(0.7))
    args[1] = {
      maxNew: 1 + r.below(4),
      ...(r.chance(0.5)
        ? { [r.one(["stop", "draft", "temperature", "topK", "topP", "seed", "signal", "ahead", "repeatPenalty"])]: value(r) }
        : {}),
    };
  return { name, args };
}

export const showCall = (seed: number): string => {
  const { name, args } = callOf(seed);
  return `${name}(${args.map((a) => (typeof a === "object" && a !== null ? (JSON.stringify(a) ?? "") : String(a))).join(", ")})`;
};

export class ApiCalls {
  private readonly model: Model<CpuDevice>;
  private readonly right: Float32Array;

  private constructor(model: Model<CpuDevice>, right: Float32Array) {
    [this.model, this.right] = [model, right];
  }

  static async make(): Promise<ApiCalls> {
    const model = await openToy(manifest, "synthetic:1", { threads: 1 });
    const session = model.session({ maxTokens: 16 });
    const right = (await session.prefill([[1, 2, 3]])).logits(0).slice();
    session.close();
    return new ApiCalls(model, right);
  }

  async run(seed: number): Promise<undefined> {
    const { name, args } = callOf(seed);
    const session = this.model.session({ maxTokens: 16, sequences: 2 });
    const failure = await this.failureOf(name, session, args);
    const again = await session.prefill([[1, 2, 3]]);
    if (!again.logits(0).every((x, i) => x === this.right[i])) throw new Error("the session gives other logits than before");
    session.close();
    if (failure !== undefined) throw failure;
  }

  async close(): Promise<void> {
    await this.model.close();
  }

  /** What the call throws on a session that holds two sequences. */
  private async failureOf(name: string, session: Session, args: unknown[]): Promise<unknown> {
    try {
      await session.prefill([[4, 5], [6]]);
      await this.callers(name)(session, args);
    } catch (e) {
      return e;
    }
    return undefined;
  }

  private callers(name: string): Call {
    const { model } = this;
    const all = async (steps: AsyncIterable<unknown>): Promise<void> => {
      for await (const s of steps) void s;
    };
    const free =
      (f: unknown) =>
      (...a: unknown[]): unknown =>
        (f as (...a: unknown[]) => unknown)(...a);
    const calls: Record<string, Call> = {
      session: (_, [o]) => model.session(o as never).close(),
      generate: (_, a) => all(generate(model, ...(a as [never, never]))),
      score: (_, a) => free(score)(model, ...a),
      stream: (_, a) => all(stream(model, ...(a as [never, never, never]))),
      chat: (_, a) => free(chat)(model, ...a),
      loadChatTemplate: (_, a) => free(loadChatTemplate)(...a),
      result: async (s, a) => {
        const result = await s.extend([[1], [2]]);
        return [
          result.logits(a[1] as never, a[2] as never),
          result.next(a[1] as never),
          result.hidden(a[1] as never, a[2] as never),
        ];
      },
    };
    return calls[name] ?? ((s, a) => (s[name as (typeof METHODS)[number]] as (...x: unknown[]) => unknown).apply(s, a));
  }
}
