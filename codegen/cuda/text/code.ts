// A tag for CUDA text inside TypeScript. The text's own indentation says where it stands, so that pieces can be written flush left
// and put in anywhere: a hole alone on its line gives each of its lines the indentation of that place, and an empty one takes the
// line with it. The first and last line break and the indentation that all lines share are dropped; lines of the preprocessor stay
// at the margin.

const indented = (value: string, by: string): string => value.split("\n").map((l, i) => (i === 0 || l === "" || l.startsWith("#") ? l : by + l)).join("\n");

/** The text without the indentation that all of its lines share. */
function flush(text: string): string {
  const lines = text.split("\n");
  const shared = Math.min(...lines.filter((l) => l.trim() !== "" && !l.startsWith("#")).map((l) => l.length - l.trimStart().length));
  return lines.map((l) => (l.startsWith("#") ? l : l.slice(shared))).join("\n");
}

export function code(strings: TemplateStringsArray, ...values: (string | number)[]): string {
  // Holes are filled after the indentation is known; a private character marks them.
  const marked = flush(strings.map((s, i) => (i < values.length ? `${s}\u0001${i}\u0002` : s)).join("").replace(/^\n/, "").replace(/\n[ \t]*$/, ""));
  const lines = marked.split("\n").flatMap((line) => {
    const alone = /^([ \t]*)\u0001(\d+)\u0002$/.exec(line);
    if (!alone) return [line.replaceAll(/\u0001(\d+)\u0002/g, (_, i) => String(values[Number(i)]))];
    const value = String(values[Number(alone[2])]).replace(/^\n|\n$/g, "");
    return value === "" ? [] : [(value.startsWith("#") ? "" : alone[1]) + indented(value, alone[1])];
  });
  return lines.join("\n");
}
