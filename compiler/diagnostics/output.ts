// What can be wrong with the place that something is written to.
import { coded, place, type Diagnostic } from "../../ir/diagnostic.ts";

export const cannotWrite = coded<{ where: string; problem: string; help?: string | undefined }>("DSC6002", {
  name: "a place cannot be written",
  means: "The folder holds something that dsc did not write and will not replace, or the system refuses.",
  example: "$ dsc compile examples/tiny-r1 -o examples",
  fix: "Choose another place, or see to permissions and disk.",
  at: ({ where }) => [place(where)],
  short: ({ where, problem, help }) => ({
    title: `cannot write ${where}: ${problem}`,
    help: help ?? "choose another place, or see to its permissions and its disk",
  }),
});

/** A place that holds what dsc did not write; it is left as it is. */
export const notOurs = (where: string, problem: string): Diagnostic =>
  cannotWrite({
    where,
    problem,
    help: "choose another place, or an empty folder; dsc replaces only files that it wrote and nobody changed",
  });

/** The work is done all the same, but not kept. */
export const cacheInTemporary = coded<{ cache: string; instead: string; why: string }>("DSC6022", {
  name: "the cache cannot be written (note)",
  means:
    "run, eval and verify compile a config or a model folder into the user's cache. Where it cannot be written, or " +
    "what lies there was changed, they compile into a temporary folder that goes when they end.",
  example: "DSC_CACHE=/proc/x dsc run examples/tiny-r1 --ids 1,2 --max-new 1",
  fix: "Name a folder that can be written by DSC_CACHE, or compile once with dsc compile and run the artifact.",
  severity: "note",
  at: ({ cache }) => [place(cache)],
  short: ({ instead, why }) => ({
    title: "the compiled model is kept until this command ends: the cache cannot be written",
    notes: [why, `it lies in ${instead} meanwhile`],
    help: "DSC_CACHE names another folder for the cache",
  }),
});

export const busy = coded<{ folder: string; lock: string }>("DSC6015", {
  name: "another compile writes there",
  means:
    "One compile at a time replaces the files of an artifact; this one waited for the other as long as " +
    "DSC_LOCK_SECONDS says, or a minute.",
  example: "A compile that hangs while it holds OUT/.dsc-lock.",
  fix: "Wait for it, choose another -o, or remove the lock if no dsc runs anywhere.",
  at: ({ folder }) => [place(folder)],
  short: ({ folder, lock }) => ({
    title: `another compile is writing into ${folder}`,
    notes: [`${lock} was held all the time this one waited`],
    help: "wait for it (DSC_LOCK_SECONDS=600 waits ten minutes), or choose another -o; if no dsc runs anywhere, remove that file",
  }),
});

export const noRoom = coded<{ where: string; needed: string; free: string; layers: number }>("DSC6009", {
  name: "no room on the disk",
  means: "A synthetic checkpoint is as large as the real one, and its size is compared with the disk's free bytes first.",
  example: "dsc weights examples/deepseek-r1 --synthetic 0 -o weights, on a disk of less than 690 GB",
  fix: "--set num_hidden_layers=4 makes a smaller one.",
  at: ({ where }) => [place(where)],
  short: ({ where, needed, free, layers }) => ({
    title: `the checkpoint takes ${needed}, and ${where} has ${free} free`,
    help:
      layers > 1 ? `choose another -o; --set num_hidden_layers=${layers > 4 ? 4 : 1} makes a smaller one` : "choose another -o",
  }),
});

export const foreignCheckpoint = coded<{ where: string; file: string }>("DSC6010", {
  name: "a checkpoint of someone else",
  means: "dsc weights writes over what it wrote itself, never over another checkpoint.",
  example: "$ dsc weights examples/printed-model --synthetic 0 -o examples/tiny-r1",
  fix: "Choose another -o.",
  at: ({ where, file }) => [place(`${where}/${file}`)],
  short: ({ where, file }) => ({
    title: `${where} holds ${file}, which dsc weights did not write`,
    notes: ["a checkpoint is never overwritten"],
    help: "choose another -o",
  }),
});
