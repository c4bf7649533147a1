// DSC509x: what can go wrong between ranks that are processes of their own, and with what launchers tell them.
import { place, thrown } from "../../ir/diagnostic.ts";
import { ranksApart } from "./device.ts";

/** Ranks that a message names one by one. */
const NAMED = 16;
function list(ranks: readonly number[]): string {
  const more = ranks.length - NAMED;
  const named = ranks.slice(0, NAMED).join(", ");
  return `${ranks.length === 1 ? "rank" : "ranks"} ${more > 0 ? `${named} and ${more} more` : named}`;
}

export const launchersDiffer = thrown<{ a: string; b: string; why: string }>("DSC5090", {
  name: "two launchers contradict each other",
  means:
    "A rank reads from the environment which one of how many it is (docs/parallel.md has the table). Two launchers have set " +
    "variables, and what they say does not go together.",
  example:
    "$ RANK=1 WORLD_SIZE=2 LOCAL_RANK=1 OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=2 dsc run examples/tiny-r1 --tp 2 --ids 1 --max-new 1",
  fix: "Name the one that counts in DSC_LAUNCHER, or unset the variables of the other.",
  at: () => [place("environment")],
  short: ({ a, b, why }) => ({
    title: `${a} and ${b} contradict each other`,
    notes: [why],
    help: "DSC_LAUNCHER names the launcher that counts (torchrun, openmpi, hydra, slurm, lws or dsc), or unset the other's variables",
  }),
});

export const badLaunch = thrown<{ seen: string; why: string; help: string }>("DSC5091", {
  name: "a launcher's variables are incomplete or no numbers",
  means: "Of each launcher some variables belong together: which rank, of how many, and where rank 0 is.",
  example: "$ RANK=1 LOCAL_RANK=1 dsc run examples/tiny-r1 --tp 2 --ids 1 --max-new 1",
  fix: "Start the ranks by the launcher, which sets all of them, or set the one that is named.",
  at: () => [place("environment")],
  short: ({ seen, why, help }) => ({ title: `${seen}: ${why}`, help }),
});

export const worldDiffers = thrown<{ variable: string; world: number; mesh: string; ranks: number }>("DSC5092", {
  name: "as many processes as the mesh has ranks",
  means: "Each process is one rank of the artifact's mesh, so the launcher starts as many as there are.",
  example: "torchrun --nproc-per-node 4 --no-python dsc run SRC --tp 2 ...",
  fix: "Start as many processes as --tp says, or compile for the mesh that you start.",
  at: () => [place("environment")],
  short: ({ variable, world, mesh, ranks }) => ({
    title: `${variable}=${world}, and the mesh ${mesh} has ${ranks} rank${ranks === 1 ? "" : "s"}`,
    help: `start ${ranks} processes, or give --tp ${world}`,
  }),
});

export const rankRefused = thrown<{ rank: number; what: string; theirs: string; ours: string }>("DSC5093", {
  name: "a rank that does not fit the others",
  means: "All ranks run one artifact by one version of dsc, read the same weights, and know the same token.",
  example: "an older dsc on the second host, or an artifact compiled there with other options",
  fix: "Install one version everywhere, and compile the artifact once: copy it, or let all hosts read it from one place.",
  at: ({ rank }) => [place(`rank ${rank}`)],
  short: ({ rank, what, theirs, ours }) => ({
    title: `rank ${rank} comes with another ${what}`,
    notes: [`rank ${rank}: ${theirs}`, `here: ${ours}`],
    help:
      what === "token"
        ? "give all ranks the same DSC_TOKEN, or a file with it in DSC_TOKEN_FILE"
        : what === "dsc"
          ? "install one version of dsc on all hosts"
          : what === "weights"
            ? "give all ranks the same checkpoint"
            : what === "transport"
              ? "give all ranks the same DSC_PEERS"
              : "compile the artifact once, and give it to all ranks",
  }),
});

export const rankMissing = thrown<{ ranks: readonly number[]; of: number; seconds: number; where: string }>("DSC5094", {
  name: "a rank that does not come",
  means: "Rank 0 waits until all ranks have connected, and a rank until rank 0 answers; DSC_JOIN_SECONDS says for how long.",
  example: "a host whose container starts a minute after the others",
  fix: "See what the missing process says, and whether it reaches rank 0's port.",
  at: ({ where }) => [place(where)],
  short: ({ ranks, of, seconds, where }) => ({
    title: `${list(ranks)} of ${of} did not ${ranks.length === 1 && ranks[0] === 0 ? `answer at ${where}` : "come"} within ${seconds} s`,
    help: "see what that process says, and whether it reaches rank 0; DSC_JOIN_SECONDS=600 waits longer",
  }),
});

export const rankTwice = thrown<{ rank: number; of: number; why: string }>("DSC5095", {
  name: "a rank too many",
  means: "Ranks are numbered from 0, and each number is one process.",
  example: "two jobs that were started with the same port and token",
  fix: "Give jobs on one host different ports (DSC_PORT), and see that each process gets a rank of its own.",
  at: ({ rank }) => [place(`rank ${rank}`)],
  short: ({ rank, of, why }) => ({
    title: `rank ${rank} of ${of} cannot join: ${why}`,
    help: "jobs on one host need different ports (DSC_PORT); each process needs a rank of its own",
  }),
});

export const rankLost = thrown<{ rank: number; how: string; during: string }>("DSC5096", {
  name: "a rank is gone",
  means:
    "The process of a rank was killed, ended, or hangs. Ranks tell each other that they live; one that says nothing for " +
    "DSC_SILENCE_SECONDS (3) is taken for gone, and so is one that does not come to a meeting within DSC_MEETING_SECONDS (300).",
  example: "the system kills a rank that needs more memory than there is",
  fix: "See what that process said last, and the system's log. On a machine that is busy otherwise a larger DSC_SILENCE_SECONDS helps.",
  at: ({ rank }) => [place(`rank ${rank}`)],
  short: ({ rank, how, during }) => ({
    title: `rank ${rank} ${how}`,
    notes: [`when ${during}`, "no rank can go on without it, so all of them end"],
    help: "see what that process said last, and the system's log",
  }),
});

export const rankFailed = thrown<{ rank: number; why: string }>("DSC5097", {
  name: "a rank failed",
  means: "A rank ended with an error of its own, which follows. No rank can go on without it, so all end.",
  example: "dsc run SRC --tp 2 --processes, where a shard of the checkpoint is damaged",
  fix: "Do what the error of that rank says.",
  at: ({ rank }) => [place(`rank ${rank}`)],
  short: ({ rank, why }) => ({ title: `rank ${rank} failed`, notes: [why.split("\n")[0], "all ranks end with it"] }),
});

export const noRendezvous = thrown<{ where: string; why: string }>("DSC5098", {
  name: "rank 0 cannot listen",
  means:
    "Rank 0 listens on a port on which the others connect: DSC_PORT, one above MASTER_PORT, or one that follows from the job's id.",
  example: "$ python3 -m http.server 29501 & MASTER_PORT=29500 ...",
  fix: "Give all ranks a free port in DSC_PORT.",
  at: ({ where }) => [place(where)],
  short: ({ where, why }) => ({
    title: `rank 0 cannot listen at ${where}`,
    notes: [why],
    help: "give all ranks a free port in DSC_PORT",
  }),
});

export const fewGpus = thrown<{ ranks: number; gpus: number; same?: readonly number[] }>("DSC5099", {
  name: "a GPU for each rank",
  means:
    "Each rank that is a process has a GPU of its own: the one of the number that it has among the ranks of its host, of those that " +
    "CUDA_VISIBLE_DEVICES shows, or the only one that its launcher shows it. Here two of them would share one.",
  example: "dsc run SRC --tp 8 --target cuda --processes, on a host of four GPUs",
  fix:
    "Divide the model over as many ranks as there are GPUs, or leave --processes out: all ranks then run on one GPU. " +
    "DSC_SHARE_GPU=1 lets ranks share GPUs, which take turns by milliseconds: for tests.",
  at: () => [place("mesh")],
  short: ({ ranks, gpus, same }) => ({
    title: same
      ? `ranks ${same.join(" and ")} have the same GPU`
      : `${ranks} ranks on this host, and ${gpus} GPU${gpus === 1 ? "" : "s"} that can be seen`,
    help: "give each rank a GPU (CUDA_VISIBLE_DEVICES), or leave --processes out, which runs all ranks on one",
  }),
});

/** Codes of errors that say which rank they are about. */
export const ABOUT_RANKS: ReadonlySet<string> = new Set([
  ranksApart.code,
  ...[rankRefused, rankMissing, rankTwice, rankLost, rankFailed].map((d) => d.code),
]);
