// The table of launchers: what each sets gives a process its place; what is incomplete, or contradicts, is refused by name.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test, vi } from "vitest";
import { ordinalOf, peersOf } from "../../runtime/ranks/gpus.ts";
import { firstNode, placeOf, type Environment, type Place } from "../../runtime/ranks/launchers.ts";

const work = mkdtempSync(path.join(tmpdir(), "dsc-launchers-"));
afterAll(() => rmSync(work, { recursive: true }));
writeFileSync(path.join(work, "token"), "secret\n");

const at = (env: Environment, ranks: number): Place | undefined => placeOf(env, `tp=${ranks}`, ranks);
const shown = (p: Place | undefined): unknown => p && [p.launcher, p.rank, p.onHost, p.starts, p.host];
const torchrun = (rank: number, ranks: number, onHost: number): Environment => ({
  RANK: `${rank}`,
  WORLD_SIZE: `${ranks}`,
  LOCAL_RANK: `${rank % onHost}`,
  LOCAL_WORLD_SIZE: `${onHost}`,
  MASTER_ADDR: "host0",
  MASTER_PORT: "29500",
  TORCHELASTIC_RUN_ID: "none",
});
const slurm = (rank: number, ranks: number, hosts: number): Environment => ({
  SLURM_PROCID: `${rank}`,
  SLURM_STEP_NUM_TASKS: `${ranks}`,
  SLURM_STEP_NUM_NODES: `${hosts}`,
  SLURM_STEP_NODELIST: "gpu[07-08]",
  SLURM_JOB_ID: "12",
  SLURM_STEP_ID: "0",
});
const openmpi = (rank: number, ranks: number, onHost: number): Environment => ({
  OMPI_COMM_WORLD_RANK: `${rank}`,
  OMPI_COMM_WORLD_SIZE: `${ranks}`,
  OMPI_COMM_WORLD_LOCAL_SIZE: `${onHost}`,
  PMIX_RANK: `${rank}`,
  PMIX_NAMESPACE: "job",
});
const hydra = { PMI_RANK: "1", PMI_SIZE: "2", MPI_LOCALNRANKS: "2" };
const lws = { LWS_WORKER_INDEX: "1", LWS_GROUP_SIZE: "2", LWS_LEADER_ADDRESS: "r1-0.r1" };

test("no launcher, one that started a single process, and a batch script are no place", () => {
  expect(at({}, 8)).toBeUndefined();
  expect(at({ RANK: "1" }, 8)).toBeUndefined();
  expect(at(torchrun(0, 1, 1), 8)).toBeUndefined();
  expect(at({ SLURM_PROCID: "0", SLURM_NTASKS: "8", SLURM_JOB_ID: "12" }, 8)).toBeUndefined();
  expect(at({ ...torchrun(1, 2, 2), DSC_LAUNCHER: "none" }, 8)).toBeUndefined();
});

test("which rank of its host a process is, as the launcher says, else by its number", () => {
  const locals = [
    at(torchrun(3, 8, 8), 8),
    at({ ...torchrun(9, 16, 8), DSC_TOKEN: "t" }, 16),
    at({ ...openmpi(1, 2, 2), OMPI_COMM_WORLD_LOCAL_RANK: "0" }, 2),
    at({ ...hydra, MPI_LOCALRANKID: "1" }, 2),
    at({ ...slurm(9, 16, 2), DSC_TOKEN: "t", SLURM_LOCALID: "4" }, 16),
    at({ ...slurm(9, 16, 2), DSC_TOKEN: "t" }, 16),
    at({ ...lws, DSC_TOKEN: "t" }, 8),
  ];
  expect(locals.map((p) => p!.local)).toEqual([3, 1, 0, 1, 4, 1, 0]);
});

test("a rank has the GPU of its number on its host, or the only one that its launcher shows it", () => {
  const place = at({ ...torchrun(9, 16, 8), DSC_TOKEN: "t" }, 16)!;
  expect(ordinalOf(place, 8)).toBe(1);
  expect(ordinalOf(place, 1)).toBe(0);
  expect(() => ordinalOf(place, 4)).toThrow(/DSC5099.*8 ranks on this host, and 4 GPUs/);
  expect(() => ordinalOf({ ...place, launcher: "dsc" }, 1)).toThrow(/DSC5099.*8 ranks on this host, and 1 GPU/);
  expect([peersOf(place), peersOf({ ...place, onHost: 16 })]).toEqual(["nccl", "mailbox"]);
  for (const [asked, wanted] of [
    ["wires", /DSC5091.*DSC_PEERS=wires: it is mailbox or nccl/],
    ["mailbox", /DSC5091.*the ranks are on several hosts/],
  ] as const) {
    vi.stubEnv("DSC_PEERS", asked);
    expect(() => peersOf(place)).toThrow(wanted);
  }
  vi.unstubAllEnvs();
});

test("each launcher's variables give a place", () => {
  const two = { DSC_TOKEN: "t" };
  expect(shown(at(torchrun(3, 8, 8), 8))).toEqual(["torchrun", 3, 8, [], "127.0.0.1"]);
  expect(at(torchrun(3, 8, 8), 8)!.port).toBe(29501);
  expect(shown(at({ ...torchrun(9, 16, 8), ...two }, 16))).toEqual(["torchrun", 9, 8, [], "host0"]);
  expect(shown(at(openmpi(1, 2, 2), 2))).toEqual(["openmpi", 1, 2, [], "127.0.0.1"]);
  expect(shown(at({ ...openmpi(1, 2, 1), ...two, DSC_MASTER: "a:5" }, 2))).toEqual(["openmpi", 1, 1, [], "a"]);
  expect(shown(at(hydra, 2))).toEqual(["hydra", 1, 2, [], "127.0.0.1"]);
  expect(shown(at({ PMIX_RANK: "1", PMIX_NAMESPACE: "job" }, 2))).toEqual(["pmix", 1, 2, [], "127.0.0.1"]);
  expect(shown(at({ ...slurm(9, 16, 2), ...two }, 16))).toEqual(["slurm", 9, 8, [], "gpu07"]);
  expect(shown(at({ ...lws, ...two }, 8))).toEqual(["lws", 4, 4, [5, 6, 7], "r1-0.r1"]);
  expect(shown(at({ DSC_HOST: "0", DSC_HOSTS: "2", DSC_MASTER: "a", ...two }, 4))).toEqual(["dsc hosts", 0, 2, [1], "a"]);
  expect(shown(at({ DSC_RANK: "1", DSC_RANKS: "2" }, 2))).toEqual(["dsc", 1, 2, [], "127.0.0.1"]);
});

test("all ranks of a job find the same port, and jobs mostly others", () => {
  const ports = [0, 1].map((rank) => at(openmpi(rank, 2, 2), 2)!.port);
  expect(ports[0]).toBe(ports[1]);
  expect(at({ ...openmpi(0, 2, 2), PMIX_NAMESPACE: "another" }, 2)!.port).not.toBe(ports[0]);
  expect(at({ ...openmpi(0, 2, 2), DSC_PORT: "777" }, 2)!.port).toBe(777);
});

test("a launcher of hosts goes with one of ranks, and DSC_LAUNCHER decides where they differ", () => {
  const token = { DSC_TOKEN_FILE: path.join(work, "token") };
  expect(shown(at({ ...torchrun(9, 16, 8), ...slurm(1, 2, 2), ...token }, 16))).toEqual(["torchrun", 9, 8, [], "host0"]);
  expect(at({ ...torchrun(9, 16, 8), ...token }, 16)!.token).toBe("secret");
  expect(shown(at({ ...openmpi(1, 2, 2), ...slurm(0, 4, 1), DSC_LAUNCHER: "openmpi" }, 2))).toEqual([
    "openmpi",
    1,
    2,
    [],
    "127.0.0.1",
  ]);
});

test.each<[string, Environment, number, RegExp]>([
  ["contradicting ranks", { ...torchrun(1, 2, 2), ...openmpi(0, 2, 2) }, 2, /DSC5090.*RANK=1 and OMPI_COMM_WORLD_RANK=0/],
  ["contradicting counts", { ...openmpi(1, 2, 2), ...hydra, PMI_SIZE: "4" }, 2, /DSC5090.*OMPI_COMM_WORLD_SIZE=2 and PMI_SIZE=4/],
  ["a rank past the last", { ...torchrun(2, 2, 2) }, 2, /DSC5090.*RANK=2 and WORLD_SIZE=2/],
  ["a contradiction with PMIx", { ...openmpi(1, 2, 2), PMIX_RANK: "0" }, 2, /DSC5090.*OMPI_COMM_WORLD_RANK=1 and PMIX_RANK=0/],
  ["no count", { RANK: "1", LOCAL_RANK: "1" }, 2, /DSC5091.*RANK=1: WORLD_SIZE/],
  ["no number", { ...torchrun(1, 2, 2), WORLD_SIZE: "two" }, 2, /DSC5091.*WORLD_SIZE=two/],
  ["no token", torchrun(1, 16, 8), 16, /DSC5091.*several hosts/],
  ["no file of the token", { ...torchrun(1, 16, 8), DSC_TOKEN_FILE: "/none" }, 16, /DSC5091.*DSC_TOKEN_FILE/],
  ["nothing of where rank 0 is", { ...openmpi(1, 2, 1), DSC_TOKEN: "t" }, 2, /DSC5091.*does not say where rank 0 is/],
  ["no such launcher", { DSC_LAUNCHER: "make" }, 2, /DSC5091.*DSC_LAUNCHER=make/],
  ["no such port", { ...torchrun(1, 2, 2), DSC_PORT: "70000" }, 2, /DSC5091.*70000/],
  ["more processes than ranks", torchrun(1, 4, 4), 2, /DSC5092.*WORLD_SIZE=4.*tp=2 has 2/],
  ["hosts that do not divide the ranks", { ...lws, DSC_TOKEN: "t" }, 3, /DSC5092.*LWS_GROUP_SIZE=2/],
  ["a rank of PMIx past the last", { PMIX_RANK: "2", PMIX_NAMESPACE: "job" }, 2, /DSC5092.*PMIX_RANK/],
])("%s are refused by name", (_, env, ranks, message) => expect(() => at(env, ranks)).toThrow(message));

test("the first node of a list", () => {
  expect(firstNode("gpu[007-010,12],other")).toBe("gpu007");
  expect(firstNode("a1,b2")).toBe("a1");
  expect(firstNode("rack[3]-x,b")).toBe("rack3-x");
  expect(firstNode(undefined)).toBeUndefined();
});
