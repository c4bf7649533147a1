// Which rank of how many this process is: the one table of the variables that launchers set. A launcher starts a process for each rank,
// or one for each host, which then starts the other ranks of its host.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import * as diagnostics from "../diagnostics.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/** A process's place among the ranks. */
export interface Place {
  /** Who said so. */
  launcher: string;
  rank: number;
  ranks: number;
  /** Ranks on this host, which divide its cores and memory. */
  onHost: number;
  /** Which of them this one is: it has the GPU of that number. */
  local: number;
  /** Ranks that this process starts on its host. */
  starts: readonly number[];
  /** Where rank 0 listens. */
  host: string;
  port: number;
  token: string;
}

interface Launcher {
  /** As DSC_LAUNCHER names it. */
  name: string;
  /** What it starts a process for. */
  per: "rank" | "host";
  /** Variables: which one, of how many, how many of them on this host and which of these (`hosts`: on how many hosts they are). */
  index: string;
  count?: string;
  onHost?: string;
  local?: string;
  hosts?: string;
  /** All of these are set where it started this process. */
  sign: readonly string[];
  /** Where rank 0 is. */
  host?: (env: Environment) => string | undefined;
  /** Its port is taken by the launcher's own store: ranks use the next one. */
  port?: string;
  /** What is the same for all processes of one job, and no other's. */
  job: readonly string[];
}

/** The innermost first: torchrun can run under srun, and mpirun. */
const launchers: readonly Launcher[] = [
  {
    name: "dsc",
    per: "rank",
    index: "DSC_RANK",
    count: "DSC_RANKS",
    onHost: "DSC_LOCAL_RANKS",
    local: "DSC_LOCAL_RANK",
    sign: ["DSC_RANK"],
    job: [],
  },
  { name: "dsc hosts", per: "host", index: "DSC_HOST", count: "DSC_HOSTS", sign: ["DSC_HOST"], job: [] },
  {
    name: "torchrun",
    per: "rank",
    index: "RANK",
    count: "WORLD_SIZE",
    onHost: "LOCAL_WORLD_SIZE",
    local: "LOCAL_RANK",
    sign: ["RANK", "LOCAL_RANK"],
    host: (env) => env.MASTER_ADDR,
    port: "MASTER_PORT",
    job: ["TORCHELASTIC_RUN_ID", "MASTER_PORT"],
  },
  {
    name: "openmpi",
    per: "rank",
    index: "OMPI_COMM_WORLD_RANK",
    count: "OMPI_COMM_WORLD_SIZE",
    onHost: "OMPI_COMM_WORLD_LOCAL_SIZE",
    local: "OMPI_COMM_WORLD_LOCAL_RANK",
    sign: ["OMPI_COMM_WORLD_RANK"],
    job: ["PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid"],
  },
  {
    name: "hydra",
    per: "rank",
    index: "PMI_RANK",
    count: "PMI_SIZE",
    onHost: "MPI_LOCALNRANKS",
    local: "MPI_LOCALRANKID",
    sign: ["PMI_RANK", "PMI_SIZE"],
    job: ["HYDRA_JOBID", "PMI_ID"].slice(0, 1),
  },
  { name: "pmix", per: "rank", index: "PMIX_RANK", sign: ["PMIX_RANK", "PMIX_NAMESPACE"], job: ["PMIX_NAMESPACE"] },
  {
    // Variables of a step: a batch script has others of its job, and is no rank.
    name: "slurm",
    per: "rank",
    index: "SLURM_PROCID",
    count: "SLURM_STEP_NUM_TASKS",
    hosts: "SLURM_STEP_NUM_NODES",
    local: "SLURM_LOCALID",
    sign: ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS"],
    host: (env) => firstNode(env.SLURM_STEP_NODELIST),
    job: ["SLURM_JOB_ID", "SLURM_STEP_ID"],
  },
  {
    name: "lws",
    per: "host",
    index: "LWS_WORKER_INDEX",
    count: "LWS_GROUP_SIZE",
    sign: ["LWS_WORKER_INDEX", "LWS_LEADER_ADDRESS"],
    host: (env) => env.LWS_LEADER_ADDRESS,
    job: ["LWS_LEADER_ADDRESS"],
  },
];

/** "node[007-010,12],other" begins with node007. */
export const firstNode = (list: string | undefined): string | undefined =>
  list === undefined ? undefined : /^([^[,]*)(?:\[([^\],-]*)[^\]]*\])?([^,[]*)/.exec(list)?.slice(1).join("") || undefined;

interface Seen {
  launcher: Launcher;
  index: number;
  /** Undefined where the launcher does not say. */
  count: number | undefined;
}

const said = (env: Environment, name: string): string => `${name}=${env[name]}`;

function numberIn(env: Environment, name: string | undefined): number | undefined {
  const text = name === undefined ? undefined : env[name]?.trim();
  if (name === undefined || text === undefined || text === "") return undefined;
  if (/^\d{1,7}$/.test(text)) return Number(text);
  throw diagnostics.badLaunch({
    seen: said(env, name),
    why: "it is no whole number",
    help: `unset ${name}, or let the launcher set it`,
  });
}

function seenOf(env: Environment, launcher: Launcher): Seen | undefined {
  if (!launcher.sign.every((name) => env[name]?.trim())) return undefined;
  const index = numberIn(env, launcher.index)!;
  const count = numberIn(env, launcher.count);
  if (launcher.count !== undefined && count === undefined)
    throw diagnostics.badLaunch({
      seen: said(env, launcher.index),
      why: `${launcher.count}, which says of how many, is not set`,
      help: `set ${launcher.count}, or unset ${launcher.index}`,
    });
  if (count !== undefined && index >= count)
    throw diagnostics.launchersDiffer({
      a: said(env, launcher.index),
      b: said(env, launcher.count!),
      why: `of ${count} the last is ${count - 1}`,
    });
  return { launcher, index, count };
}

/** Refuses another launcher that says something else, unless it has started the first one, once on every host. */
function agree(env: Environment, first: Seen, other: Seen): void {
  const [a, b] = [first, other];
  const onHost = numberIn(env, a.launcher.onHost);
  const outer =
    a.launcher.per === "rank" &&
    onHost !== undefined &&
    a.count === b.count! * onHost &&
    Math.floor(a.index / onHost) === b.index;
  if (outer) return;
  const name = a.index === b.index ? (["count", "count"] as const) : (["index", "index"] as const);
  if (a.index === b.index && (a.count === b.count || b.count === undefined) && a.launcher.per === b.launcher.per) return;
  throw diagnostics.launchersDiffer({
    a: said(env, a.launcher[name[0]] ?? a.launcher.index),
    b: said(env, b.launcher[name[1]] ?? b.launcher.index),
    why: `${a.launcher.name} and ${b.launcher.name} have both started this process, so they would have to agree`,
  });
}

/** The launcher that started this process, where one did, and no other contradicts it. */
function launcherIn(env: Environment): Seen | undefined {
  const named = env.DSC_LAUNCHER?.trim();
  if (named === "none") return undefined;
  const candidates = named ? launchers.filter((l) => l.name.split(" ")[0] === named) : launchers;
  if (candidates.length === 0)
    throw diagnostics.badLaunch({
      seen: said(env, "DSC_LAUNCHER"),
      why: "there is no such launcher",
      help: `it is one of ${[...new Set(launchers.map((l) => l.name.split(" ")[0]))].join(", ")}, none`,
    });
  const [first, ...others] = candidates.flatMap((l) => seenOf(env, l) ?? []);
  for (const other of others) agree(env, first, other);
  return first;
}

/** Where no port is given: outside the ranges that systems give out, another for most jobs. */
const portOf = (job: string): number => 20_000 + (createHash("sha256").update(job).digest().readUInt16LE(0) % 8192);

function tokenOf(env: Environment, job: string, alone: boolean): string {
  const file = env.DSC_TOKEN_FILE?.trim();
  if (env.DSC_TOKEN) return env.DSC_TOKEN;
  if (file) {
    try {
      return readFileSync(file, "utf8").trim();
    } catch (e) {
      throw diagnostics.badLaunch({
        seen: said(env, "DSC_TOKEN_FILE"),
        why: (e as Error).message,
        help: "name a file that all ranks can read",
      });
    }
  }
  if (alone) return job;
  throw diagnostics.badLaunch({
    seen: "the ranks are on several hosts",
    why: "neither DSC_TOKEN nor DSC_TOKEN_FILE is set, so anybody could join them",
    help: "give all ranks the same DSC_TOKEN, such as `openssl rand -hex 16` prints",
  });
}

/**
 * The place of this process among the ranks of a mesh ("tp=8"), where a launcher gave it one; undefined where none did, or one that
 * started a single process. Throws DSC5090 to DSC5092.
 */
export function placeOf(env: Environment, mesh: string, ranks: number): Place | undefined {
  const seen = launcherIn(env);
  if (!seen || seen.count === 1) return undefined;
  const { launcher, index } = seen;
  const count = seen.count ?? ranks;
  const perHost = launcher.per === "host" ? ranks / count : 1;
  if (launcher.per === "host" ? !Number.isInteger(perHost) : count !== ranks)
    throw diagnostics.worldDiffers({ variable: launcher.count ?? launcher.index, world: count, mesh, ranks });
  if (index * perHost >= ranks) throw diagnostics.worldDiffers({ variable: launcher.index, world: index + 1, mesh, ranks });
  const hosts = launcher.per === "host" ? count : numberIn(env, launcher.hosts);
  const onHost = numberIn(env, launcher.onHost) ?? (hosts ? Math.ceil(ranks / hosts) : ranks);
  const alone = onHost >= ranks;
  const job = [launcher.name, ...launcher.job.map((name) => env[name] ?? "")].join(" ");
  const rank = index * perHost;
  return {
    launcher: launcher.name,
    rank,
    ranks,
    onHost,
    local: launcher.per === "host" ? 0 : (numberIn(env, launcher.local) ?? rank % onHost),
    starts: Array.from({ length: perHost - 1 }, (_, i) => rank + 1 + i),
    ...whereIs(env, launcher, job, alone),
    token: tokenOf(env, job, alone),
  };
}

/** Where rank 0 listens: DSC_MASTER ("host" or "host:port"), or as the launcher says; on one host its own loopback. */
function whereIs(env: Environment, launcher: Launcher, job: string, alone: boolean): { host: string; port: number } {
  const [, given, givenPort] = /^(.*?)(?::(\d+))?$/.exec(env.DSC_MASTER?.trim() ?? "")!;
  const next = numberIn(env, launcher.port);
  const port =
    (givenPort ? Number(givenPort) : undefined) ?? numberIn(env, "DSC_PORT") ?? (next === undefined ? portOf(job) : next + 1);
  const host = given || (alone ? "127.0.0.1" : launcher.host?.(env)?.trim());
  if (!host)
    throw diagnostics.badLaunch({
      seen: said(env, launcher.index),
      why: `${launcher.name} does not say where rank 0 is, and the ranks are on several hosts`,
      help: "set DSC_MASTER to the name or address of the host of rank 0",
    });
  if (port < 1 || port > 65_535)
    throw diagnostics.badLaunch({ seen: `port ${port}`, why: "ports go from 1 to 65535", help: "set DSC_PORT" });
  return { host, port };
}
