// A page that is followed in a folder of its own: its files are written, its lines are typed, in their order, and what they print is
// what stands there.
import { spawnSync } from "node:child_process";
import { readFileSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect } from "vitest";
import { cli, root } from "../commands/dsc.ts";
import { cacheAt } from "../kept-proofs.ts";
import { pattern } from "./transcripts.ts";

type Step = { line: number } & ({ file: string; text: string } | { command: string; said: string[] });

/** Fenced blocks that name a file, and indented lines that begin with "$", in order. */
function stepsOf(page: string): Step[] {
  const out: Step[] = [];
  const lines = readFileSync(path.join(root, page), "utf8").split("\n");
  for (let i = 0; i < lines.length; i++) {
    const fence = /^```\w+ (\S+)$/.exec(lines[i]);
    if (fence) {
      const end = lines.indexOf("```", i);
      out.push({ line: i + 1, file: fence[1], text: `${lines.slice(i + 1, end).join("\n")}\n` });
      i = end;
    }
    const typed = /^ {4}\$ (.*)$/.exec(lines[i]);
    if (!typed) continue;
    const said: string[] = [];
    for (let j = i + 1; j < lines.length && /^( {4}|$)/.test(lines[j]) && !/^ {4}\$ /.test(lines[j]); j++)
      if (lines[j] !== "") said.push(lines[j].slice(4));
    out.push({ line: i + 1, command: typed[1], said });
  }
  return out;
}

const squeezed = (text: string): string => text.replaceAll(/\s+/g, " ").trim();

/** Follows a page in a folder; gives the files that it writes and the commands that it types. */
export function follow(page: string, folder: string): { files: string[]; commands: string[] } {
  symlinkSync(path.join(root, "examples"), path.join(folder, "examples"));
  const all = stepsOf(page);
  for (const s of all) {
    if ("file" in s) {
      writeFileSync(path.join(folder, s.file), s.text);
      continue;
    }
    const { status, stdout, stderr } = spawnSync("bash", ["-c", `dsc() { "${process.execPath}" "${cli}" "$@"; }; ${s.command}`], {
      cwd: folder,
      encoding: "utf8",
      env: { ...process.env, DSC_CACHE: cacheAt(path.join(folder, "cache")), NO_COLOR: "1" },
    });
    const answer = squeezed(status === 0 ? stdout : stderr);
    if (!pattern(s.said).test(answer)) expect(`${page}:${s.line} ${answer.slice(0, 3000)}`).toBe(s.said.join("\n"));
  }
  return {
    files: all.flatMap((s) => ("file" in s ? [s.file] : [])),
    commands: all.flatMap((s) => ("command" in s ? [s.command] : [])),
  };
}
