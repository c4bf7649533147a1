// What racecheck reports, looked up: pairs of accesses with their instructions, lines, and what synchronises between them.

/** Two accesses of shared memory that the tool saw unordered: byte addresses of the kernel's code, instructions, and lines of the text. */
export type Pair = {
  first: string;
  second: string;
  hazards: number;
  from: number;
  to: number;
};

/** Instructions by address. */
function codeOf(sass: string): Map<number, string> {
  return new Map(
    [...sass.matchAll(/^\s*\/\*([0-9a-f]{4,})\*\/\s+(\S[^;]*);/gm)].map((m) => [
      parseInt(m[1], 16),
      m[2].trim().replace(/\s+/g, " "),
    ]),
  );
}

/** Pairs of a report of either kind: "analysis" names two accesses in one sentence, "hazard" gives each a line. */
export function pairsOf(report: string, sass: string): Pair[] {
  const code = codeOf(sass);
  const found = new Map<string, Pair>();
  const say = (what: string, address: number, line: string | undefined): string =>
    `${what} +0x${address.toString(16)} ${code.get(address) ?? "?"}${line ? ` (line ${line})` : ""}`;
  const access = String.raw`(Write|Read)[^\n]*?\+0x([0-9a-f]+)(?: in [^\n:]+:(\d+))?`;
  const patterns = [
    new RegExp(String.raw`Race reported between ${access}\s*(?:\n=+)?\s*and ${access}[^\n[]*(?:\[(\d+) hazards?\])?`, "g"),
    new RegExp(String.raw`hazard detected[^\n]*\n=+\s+${access}[^\n]*\n=+\s+${access}()`, "g"),
  ];
  for (const p of patterns)
    for (const m of report.matchAll(p)) {
      const [a, b] = [parseInt(m[2], 16), parseInt(m[5], 16)];
      const key = `${a} ${b}`;
      const had = found.get(key);
      found.set(key, {
        first: say(m[1], a, m[3]),
        second: say(m[4], b, m[6]),
        hazards: (had?.hazards ?? 0) + Number(m[7] || 1),
        from: Math.min(a, b),
        to: Math.max(a, b),
      });
    }
  return [...found.values()];
}

/** What orders anything between two addresses, in their order: barriers, waits on mbarriers, fences. */
export function synchronising(sass: string, { from, to }: Pair): string[] {
  return [...codeOf(sass)]
    .filter(
      ([at, text]) => at > from && at < to && /\b(BAR|SYNCS|UCGABAR|WARPSYNC|FENCE|MEMBAR|ERRBAR|ACQBULK|BSYNC)\b/.test(text),
    )
    .map(
      ([at, text]) =>
        `+0x${at.toString(16)} ${text
          .replace(/^(@!?U?P\w+ )?/, "$1")
          .split(" ")
          .slice(0, 4)
          .join(" ")};`,
    );
}
