// Starts ranks on this host: each is a process of its own (process.ts) that is told by its parent what to run, and ends with it.
import { fork, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import * as diagnostics from "../diagnostics.ts";
import type { Place } from "./launchers.ts";

/** What a process is told that is to be a rank. */
export interface Task {
  folder: string;
  weights: string;
  threads: number | undefined;
  place: Place;
}

/** From the sources, and from dist. */
function processFile(): string {
  const built = ["./process.js", "../../dist/runtime/ranks/process.js"].map((f) => fileURLToPath(new URL(f, import.meta.url)));
  const found = built.find((f) => existsSync(f));
  if (!found) throw diagnostics.noWorkerFile({ path: built[0] });
  return found;
}

export interface Started {
  /** Ends those that have not ended by themselves; settles when none is left. */
  end(): Promise<void>;
}

/** Milliseconds that a process has to end by itself once its rank is over. */
const PATIENCE_MS = 1000;

/** Starts a process for each task; `gone` is called where one ends by a signal or with an error. */
export function start(tasks: readonly Task[], gone: (rank: number, how: string) => void): Started {
  const file = processFile();
  const running = tasks.map((task) => {
    const child = fork(file, [`rank ${task.place.rank} of ${task.place.ranks}`], {
      execArgv: [],
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()).once("error", () => resolve()));
    // However this process ends, unless it is killed: then the others see it.
    const kill = (): void => void child.kill("SIGKILL");
    process.once("exit", kill);
    void ended.then(() => process.off("exit", kill));
    child.once("error", (e) => gone(task.place.rank, `cannot be started: ${e.message}`));
    child.once("exit", (code, signal) => {
      if (code !== 0) gone(task.place.rank, signal ? `was ended by ${signal}` : `ended with exit code ${code}`);
    });
    child.send(task, () => {});
    return { child, ended };
  });
  return {
    end: async () => {
      await Promise.all(running.map(({ child, ended }) => ending(child, ended)));
    },
  };
}

async function ending(child: ChildProcess, ended: Promise<void>): Promise<void> {
  const drop = setTimeout(() => child.kill("SIGKILL"), PATIENCE_MS);
  await ended;
  clearTimeout(drop);
}
