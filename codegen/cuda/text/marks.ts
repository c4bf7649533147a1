// Whose lines of a hand-written kernel's body are: of the warps of a role, and of an op of a fused op's graph. Marks stand at the ends of
// lines while a text is put together, where no indentation meets them, and are gone from the kernel's text.

const MARK = "\u0001";
const MARKS = /\u0001([<>])(role|op)?:?([^\u0001]*)\u0001/g;

/** Lines between a mark and its end; empty lines in front and behind stay outside. */
function marked(kind: "role" | "op", name: string, text: string): string {
  const lines = text.split("\n");
  const first = lines.findIndex((l) => l !== "");
  if (first < 0) return text;
  lines[first] += `${MARK}>${kind}:${name}${MARK}`;
  lines[lines.findLastIndex((l) => l !== "")] += `${MARK}<${MARK}`;
  return lines.join("\n");
}

/** What warps of a role do: "producer". */
export const role = (name: string, text: string): string => marked("role", name, text);

/** What computes an op of the graph of the fused op that the kernel is for: "rms_norm". */
export const part = (op: string, text: string): string => marked("op", op, text);

/** A line without its marks, and whose it is: the innermost role, and the innermost op. */
export interface Marked {
  line: string;
  role?: string;
  op?: string;
}

/** The lines of a text that has marks. */
export function unmarked(text: string): Marked[] {
  const open: { kind: string; name: string }[] = [];
  return text.split("\n").map((full) => {
    // Most lines have none.
    if (open.length === 0 && !full.includes(MARK)) return { line: full };
    const marks = [...full.matchAll(MARKS)];
    // What was marked last lies around what was marked before it.
    open.push(
      ...marks
        .filter((m) => m[1] === ">")
        .map(([, , kind, name]) => ({ kind, name }))
        .toReversed(),
    );
    const of = (kind: string): string | undefined => open.findLast((o) => o.kind === kind)?.name;
    const [roleOf, opOf] = [of("role"), of("op")];
    for (const m of marks) if (m[1] === "<") open.pop();
    return {
      line: full.replaceAll(MARKS, ""),
      ...(roleOf === undefined ? {} : { role: roleOf }),
      ...(opOf === undefined ? {} : { op: opOf }),
    };
  });
}
