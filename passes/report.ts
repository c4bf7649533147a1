// What an analysis has to say: tables and texts that a pass gives by cx.report, kept in the artifact under reports/.

/** Rows under named columns; numbers are set flush right. */
export interface Table {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | number)[])[];
}

/** One thing that was said: by which pass, of which function or of the module, under which title. */
export interface Said {
  readonly pass: string;
  readonly site: string;
  readonly title?: string;
  readonly said: string | Table;
}

/** A table, or a text as it is. */
export function printSaid(said: string | Table): string {
  if (typeof said === "string") return said;
  const cells = [said.columns, ...said.rows].map((row) => row.map(String));
  const widths = said.columns.map((_, i) => Math.max(...cells.map((row) => (row[i] ?? "").length)));
  const right = said.columns.map((_, i) => said.rows.length > 0 && said.rows.every((row) => typeof row[i] === "number"));
  return cells
    .map((row) =>
      widths
        .map((w, i) => (right[i] ? (row[i] ?? "").padStart(w) : (row[i] ?? "").padEnd(w)))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** What is wrong with what an author gave, or null. */
export function saidProblem(said: unknown): string | null {
  if (typeof said === "string") return null;
  const t = said as Partial<Table> | null;
  if (typeof t !== "object" || t === null || !Array.isArray(t.columns) || !Array.isArray(t.rows))
    return "cx.report takes a text, or { columns, rows }";
  const odd = t.rows.findIndex((row: unknown) => !Array.isArray(row) || row.length !== t.columns!.length);
  return odd < 0
    ? null
    : `row ${odd} of a table of ${t.columns.length} columns has ${(t.rows[odd] as unknown[] | null)?.length ?? "no"} cells`;
}
