// The most memory a command takes: what the system counted for its process, said by the process as it ends.
import { execFile } from "node:child_process";
import path from "node:path";
import { promisify } from "node:util";

const SAY = 'process.on("exit", () => process.stderr.write("\\npeak " + process.resourceUsage().maxRSS));';

/** Runs the built command and gives its standard output and its peak resident bytes. */
export async function peakOf(
  root: string,
  words: readonly string[],
  env: Record<string, string> = {},
): Promise<{ stdout: string; bytes: number }> {
  const all = ["--import", `data:text/javascript,${encodeURIComponent(SAY)}`, path.join(root, "dist/compiler/cli.js"), ...words];
  const { stdout, stderr } = await promisify(execFile)(process.execPath, all, {
    env: { ...process.env, ...env },
    maxBuffer: 1 << 28,
  });
  const kilobytes = /\npeak (\d+)$/.exec(stderr)?.[1];
  if (kilobytes === undefined) throw new Error(`the command did not say its peak: ${stderr.slice(-200)}`);
  return { stdout, bytes: Number(kilobytes) * 1024 };
}
