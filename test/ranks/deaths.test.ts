// What ranks say when one of them dies, hangs, differs or does not come: every process ends with a diagnostic that names it. Processes
// with a fake device, over the loopback; each message of the protocol is cut in its middle once, by the death of who sends it.
import { expect, test } from "vitest";
import { combine } from "../../runtime/ranks/combine.ts";
import { operandsOf, roomFor, viewsOf } from "../../runtime/ranks/operands.ts";
import { COLLECTIVES, meetingOf, operandsFor } from "./fake-rank.ts";
import { run, type Outcome, type Scenario } from "./fake-ranks.ts";

/** Scenarios at once: two cores run ten processes that mostly wait as fast as two. */
const AT_ONCE = 6;

async function runAll<T>(given: readonly T[], each: (t: T) => Promise<void>): Promise<void> {
  const left = [...given];
  const worker = async (): Promise<void> => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) await each(next);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

/** Those that were left to end by themselves have ended in words, about this rank. */
function expectToldOf(outcomes: readonly Outcome[], rank: number, code: RegExp, about: string): void {
  for (const o of outcomes.filter((x) => x.signal === null)) {
    expect(o.stderr, `${about}: rank ${o.rank}`).toMatch(code);
    expect(o.stderr, `${about}: rank ${o.rank}`).toMatch(new RegExp(`ranks? ${rank}\\b`));
    expect(o.stderr).not.toMatch(/\n\s+at /);
    expect(o.code, `${about}: rank ${o.rank}`).toBe(1);
  }
}

test("ranks that live get what the collectives mean, on two ranks and on four", async () => {
  await runAll([2, 4], async (ranks) => {
    const outcomes = await run({ ranks });
    for (const { rank, code, stdout, stderr } of outcomes) {
      expect(code, stderr).toBe(0);
      const want = COLLECTIVES.map((op, place) => {
        const m = meetingOf(op, 0);
        const sizes = operandsOf(m.step, m.outer, m.inner, ranks);
        const results = viewsOf(sizes, true, roomFor(sizes, true));
        const all = Array.from({ length: ranks }, (_, r) => operandsFor(m, r, ranks, place));
        combine(m, rank, all, results);
        return results.map((r) => Buffer.from(r).toString("hex")).join(" ");
      }).join("\n");
      expect(stdout.replace(/^port.*\n/, "")).toBe(`${want}\n${want}\n`);
    }
  });
});

/** Every message of the protocol, by who sends it; meetings of a call that carry something are four. */
const messages: [from: 0 | 1, kind: string, nth?: number][] = [
  [0, "challenge"],
  [1, "hello"],
  [0, "welcome"],
  [0, "share"],
  [1, "loaded"],
  [0, "go"],
  [0, "letter"],
  ...[0, 1, 2, 3].flatMap((nth): [0 | 1, string, number][] => [
    [1, "meet", nth],
    [0, "met", nth],
  ]),
  [1, "done"],
  [1, "beat"],
  [0, "beat"],
  [1, "fail"],
  [0, "end"],
  [1, "bye"],
];

test("a rank that dies in the middle of any message ends the others, which name it", async () => {
  await runAll(messages, async ([from, kind, nth = 0]) => {
    const fault = { from, kind, nth, victim: from, signal: "SIGKILL" } as const;
    const task: Scenario["task"] =
      kind === "beat" ? () => ({ idle: 600_000 }) : kind === "fail" ? (rank) => (rank === 1 ? { fails: 1 } : {}) : () => ({});
    // Who dies before it has said who it is does not come.
    const seconds: Record<string, Record<string, string>> = {
      hello: { DSC_JOIN_SECONDS: "15" },
      beat: { DSC_SILENCE_SECONDS: "8" },
    };
    const outcomes = await run({ ranks: 2, fault, task, env: seconds[kind] ?? {} });
    expect(outcomes[from].signal, kind).toBe("SIGKILL");
    expectToldOf(outcomes, from, kind === "hello" ? /DSC5094/ : /DSC5096/, `${kind} ${nth}`);
  });
});

test("four ranks: the death of one at a collective is told to all", async () => {
  const outcomes = await run({ ranks: 4, fault: { from: 2, kind: "meet", nth: 1, victim: 2, signal: "SIGKILL" } });
  expect(outcomes[2].signal).toBe("SIGKILL");
  expectToldOf(outcomes, 2, /DSC5096.*rank 2 closed its connection/, "four");
  expect(outcomes[0].stderr).toContain("all_gather of 2 x 4 f32 at call/all_gather of layer 0");
});

test("a rank that hangs, before its weights or at a collective, ends the others", async () => {
  await runAll(
    [
      { from: 1, kind: "loaded", victim: 1 },
      { from: 1, kind: "meet", victim: 1 },
      { from: 0, kind: "letter", victim: 0 },
    ],
    async (f) => {
      const outcomes = await run({ ranks: 2, fault: { ...f, signal: "SIGSTOP" }, env: { DSC_SILENCE_SECONDS: "3" } });
      expectToldOf(outcomes, f.victim, /DSC5096.*has said nothing for 3.0 s/, f.kind);
    },
  );
});

test("a rank that lives and does not come to where the others are is told, with both places", async () => {
  const swapped = [...COLLECTIVES].toReversed();
  const other = (task: NonNullable<Scenario["task"]>): Promise<Outcome[]> =>
    run({ ranks: 2, task, env: { DSC_MEETING_SECONDS: "60" } });
  const [order, fewer, more, fails] = await Promise.all([
    other((r) => (r === 1 ? { collectives: swapped } : {})),
    other((r) => (r === 1 ? { collectives: ["all_reduce"] } : {})),
    other((r) => (r === 0 ? { collectives: ["all_reduce"] } : {})),
    other((r) => (r === 1 ? { fails: 1 } : {})),
  ]);
  for (const o of order) {
    expect(o.stderr).toMatch(/DSC5081.*ranks 0 and 1 came to different meetings/);
    expect(o.stderr).toMatch(/rank 0: meeting 1 of the call, all_reduce[^]*rank 1: meeting 1 of the call, pick_max/);
  }
  expectToldOf(fewer, 1, /rank 0: meeting 3[^]*rank 1: the end of the call/, "fewer");
  expectToldOf(more, 1, /rank 0: (the end of the call|meeting 1 of the call)[^]*rank 1: .*all_gather/, "more");
  expect(fails[0].stderr).toMatch(/DSC5097.*rank 1 failed[^]*out of luck/);
  expect(fails.map((o) => o.code)).toEqual([1, 1]);
});

test("a rank that does not fit, is there twice, is one too many or does not come ends all, by name", async () => {
  const facts = { dsc: "1", artifact: "a", mesh: "m", weights: "w", transport: "t" };
  const odd = (task: Partial<ReturnType<NonNullable<Scenario["task"]>>>) => (rank: number) => (rank === 1 ? task : {});
  const cases: [string, Scenario, RegExp][] = [
    ["artifact", { ranks: 2, task: odd({ facts: { ...facts, artifact: "b" } }) }, /DSC5093.*rank 1 comes with another artifact/],
    ["version", { ranks: 2, task: odd({ facts: { ...facts, dsc: "2" } }) }, /DSC5093.*rank 1 comes with another dsc/],
    ["weights", { ranks: 2, task: odd({ facts: { ...facts, weights: "v" } }) }, /DSC5093.*rank 1 comes with another weights/],
    ["token", { ranks: 2, task: odd({ token: "u" }) }, /DSC5093.*rank 1 comes with another token/],
    ["count", { ranks: 2, task: odd({ ranks: 4 }) }, /DSC5095.*rank 1 of 2 cannot join: it is one of 4/],
    ["twice", { ranks: 3, started: [1, 1] }, /DSC5095.*rank 1 of 3 cannot join: another process is that rank/],
    ["too many", { ranks: 2, task: odd({ rank: 2 }) }, /DSC5095.*rank 2 of 2 cannot join: ranks are 0 to 1/],
    ["missing", { ranks: 3, started: [1], env: { DSC_JOIN_SECONDS: "12" } }, /DSC5094.*rank 2 of 3 did not come within 12 s/],
  ];
  await runAll(cases, async ([about, scenario, words]) => {
    for (const { rank, code, stderr } of await run(scenario)) {
      expect(stderr, `${about}: rank ${rank}`).toMatch(words);
      expect(code).toBe(1);
    }
  });
});

test("a rank whose rank 0 does not answer says so; a stranger at the port of rank 0 disturbs nobody", async () => {
  const alone = run({ ranks: 2, task: (r) => (r === 1 ? { port: 1 } : {}), env: { DSC_JOIN_SECONDS: "2" } });
  const visited = run({ ranks: 2, visit: "GET / HTTP/1.1\r\nHost: rank\r\n\r\n" });
  expect((await alone)[1].stderr).toMatch(/DSC5094.*rank 0 of 2 did not answer at 127.0.0.1:1 within 2 s/);
  expect((await visited).map((o) => o.code)).toEqual([0, 0]);
});
