// How a command that fails says so: in words on stderr, coloured on a terminal; under --json also as data on stdout; by its exit code.
import { render, type Diagnostic } from "../ir/diagnostic.ts";

/** What only another command line can mend: it points at a word, or names a pass that there is none of. */
const ofUsage = (d: Diagnostic): boolean =>
  d.code === "DSC3001" || (d.code !== "DSC9000" && d.spans.some((s) => s.file === "command line"));

/** 2 where every error is one of the command line, 1 otherwise. */
const exitCodeOf = (diagnostics: readonly Diagnostic[]): number => (diagnostics.length > 0 && diagnostics.every(ofUsage) ? 2 : 1);

/** Whether text for this stream may have colour: a terminal, unless NO_COLOR is set; FORCE_COLOR asks for it anywhere. */
function coloured(stream: NodeJS.WriteStream = process.stderr): boolean {
  if (process.env.NO_COLOR) return false;
  if (process.env.FORCE_COLOR) return !["0", "false"].includes(process.env.FORCE_COLOR);
  return stream.isTTY === true && process.env.TERM !== "dumb";
}

const shades = { error: 31, warning: 33, note: 36 } as const;

/** `render`, with severity, title and underline in colour. */
function renderColoured(d: Diagnostic): string {
  const shade = (text: string): string => `\x1b[${shades[d.severity]}m${text}\x1b[39m`;
  const [title, ...rest] = render(d).split("\n");
  const head = title.replace(/^\w+\[\w+\]/, (w) => `\x1b[1m${shade(w)}`);
  return [
    `${head}\x1b[22m`,
    ...rest.map((l) =>
      l
        .replace(/^( *\| *)(\^+.*)$/, (_, margin: string, mark: string) => margin + shade(mark))
        .replace(/^( +help:)/, "\x1b[36m$1\x1b[39m"),
    ),
  ].join("\n");
}

/** Words on stderr. */
export const say = (d: Diagnostic): void => void process.stderr.write(`${coloured() ? renderColoured(d) : render(d)}\n`);

/** What ended a command: in words; with `json` also one object on stdout, {"errors": [...]}; the exit code is set. */
export function tell(diagnostics: readonly Diagnostic[], json: boolean): void {
  for (const d of diagnostics) say(d);
  if (json) process.stdout.write(`${JSON.stringify({ errors: diagnostics })}\n`);
  process.exitCode = exitCodeOf(diagnostics);
}
