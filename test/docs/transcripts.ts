// Transcripts in the pages: indented lines that begin with "$ dsc" are typed into a shell, and what follows is what they print.
// "..." stands for anything; spaces are not told apart, so that long lines can be broken and columns moved.
import { execFile } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { cli, root } from "../commands/dsc.ts";
import { cacheAt } from "../kept-proofs.ts";

export interface Transcript {
  page: string;
  line: number;
  command: string;
  /** Lines that should follow, without their indent. */
  said: string[];
}

/** Pages with transcripts; what explain.ts makes has tests of its own. */
export function pagesWithText(): string[] {
  const all = (readdirSync(root, { recursive: true }) as string[]).filter(
    (n) => n.endsWith(".md") && !/^(node_modules|dist|\.)|node_modules|diagnostics\.md$/.test(n),
  );
  return all.toSorted();
}

export function transcriptsOf(page: string): Transcript[] {
  const out: Transcript[] = [];
  let open: (Transcript & { indent: number }) | undefined;
  for (const [i, line] of readFileSync(path.join(root, page), "utf8").split("\n").entries()) {
    const typed = /^( *)\$ (dsc .*)$/.exec(line);
    const indent = line.search(/\S/);
    if (typed) {
      open = { page, line: i + 1, command: typed[2], said: [], indent: typed[1].length };
      out.push(open);
    }
    if (typed) continue;
    if (/^ *```/.test(line) || (indent >= 0 && open && indent < open.indent)) open = undefined;
    else if (open && indent >= 0) open.said.push(line.slice(open.indent));
  }
  return out;
}

const escaped = (text: string): string => text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
const squeezed = (text: string): string => text.replaceAll(/\s+/g, " ").trim();

/** What the answer has to be: its beginning and its end count, except at "...". */
export function pattern(said: readonly string[]): RegExp {
  const words = squeezed(said.join("\n"));
  const parts = words.split(/(?:^| )\.\.\.(?= |$)/).map((p) => escaped(p.trim()));
  return new RegExp(`^${parts.join("[^]*?")}$`);
}

/** Runs one; `.dsc/` stands for `folder`. */
export function typed(command: string, folder: string): Promise<string> {
  const script = `dsc() { "${process.execPath}" "${cli}" "$@"; }; ${command.replaceAll(/(^|\s)\.dsc\//g, `$1${folder}/`)}`;
  return new Promise((resolve) => {
    execFile(
      "bash",
      ["-c", script],
      { cwd: root, maxBuffer: 1 << 26, env: { ...process.env, DSC_CACHE: cacheAt(path.join(folder, "cache")), NO_COLOR: "1" } },
      (e, stdout, stderr) => resolve(squeezed((e ? stderr : stdout).replaceAll(`${folder}/`, ".dsc/"))),
    );
  });
}
