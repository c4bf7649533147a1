// The text of a graph for a person: one function of it, long runs of equal calls and long lists of numbers told by their ends.
// The files in an artifact's graph folder are whole.

/** Functions of a module's text, by name, each from its head to its closing brace. */
export function functionsOf(text: string): Map<string, string> {
  return new Map([...text.matchAll(/^func @(\S+?)\([^]*?^}$/gm)].map((m) => [m[1], m[0]]));
}

/** Calls of one function in a row beyond this many are folded. */
const MOST_CALLS = 3;
/** Elements of a list beyond this many. */
const MOST_NUMBERS = 8;

export function folded(text: string): string {
  const lines = text.split("\n").map(shortened);
  const out: string[] = [];
  for (let i = 0; i < lines.length;) {
    const callee = calleeOf(lines[i]);
    let end = i + 1;
    while (callee && end < lines.length && calleeOf(lines[end]) === callee) end++;
    const run = end - i;
    if (callee && run > MOST_CALLS)
      out.push(
        lines[i],
        `  ... ${run - 2} more calls of @${callee}, layers ${layerOf(lines[i + 1])} to ${layerOf(lines[end - 2])}`,
        lines[end - 1],
      );
    else out.push(...lines.slice(i, end));
    i = end;
  }
  return out.join("\n");
}

const calleeOf = (line: string): string | undefined => / = call @(\S+) /.exec(line)?.[1];
const layerOf = (line: string): string => /\{layer = (\d+)\}/.exec(line)?.[1] ?? "?";

/** Long lists of numbers: the first ones, and how many follow. */
const shortened = (line: string): string =>
  line.replace(/\[((?:-?[\d.e+-]+, ?|-?[\d.e+-]+,)+)(-?[\d.e+-]+)\]/g, (all, first: string, last: string) => {
    const numbers = `${first}${last}`.split(/, ?/);
    return numbers.length <= MOST_NUMBERS
      ? all
      : `[${numbers.slice(0, 3).join(", ")}, ... ${numbers.length - 4} more, ${numbers.at(-1)}]`;
  });
