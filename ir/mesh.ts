// The mesh of ranks that a model is divided over. Attention, dense layers and the vocabulary are divided over all ranks (tp); routed
// experts over ep groups of them, whole experts each, and every such expert's width over the etp = tp / ep ranks of its group.
import { DiagnosticError } from "./diagnostic.ts";
import { badMesh } from "./diagnostics.ts";

/** How many ranks there are, and how many groups of them hold whole experts; ep divides tp. */
export interface Mesh {
  readonly tp: number;
  readonly ep: number;
}

/** What an axis of a tensor can be divided over: all ranks, the groups of experts, the ranks of one group. */
export const meshAxes = ["tp", "ep", "etp"] as const;
/** One of them. */
export type MeshAxis = (typeof meshAxes)[number];

/** Most ranks of a mesh: a name of a rank is a small number everywhere. */
export const MOST_RANKS = 1024;

/** Parts along an axis. */
export const partsAlong = ({ tp, ep }: Mesh, axis: MeshAxis): number => (axis === "tp" ? tp : axis === "ep" ? ep : tp / ep);

/** Which part along an axis a rank has. The ranks of one group of experts follow each other. */
export function partOfRank(mesh: Mesh, axis: MeshAxis, rank: number): number {
  const etp = mesh.tp / mesh.ep;
  return axis === "tp" ? rank : axis === "ep" ? Math.floor(rank / etp) : rank % etp;
}

/** The axis that experts are divided over, and the one that each expert's width is; undefined where there is nothing to divide. */
export const expertAxes = ({ tp, ep }: Mesh): { experts?: MeshAxis; width?: MeshAxis } =>
  ep === 1 ? { width: "tp" } : ep === tp ? { experts: "tp" } : { experts: "ep", width: "etp" };

/** The least mesh whose axes divide as those of this one do: two parts along each. */
export const leastMesh = ({ tp, ep }: Mesh): Mesh =>
  ep === 1 ? { tp: Math.min(tp, 2), ep } : ep === tp ? { tp: 2, ep: 2 } : { tp: 4, ep: 2 };

/** "{tp = 8, ep = 2}"; ep only where it is not 1. */
export const printMesh = ({ tp, ep }: Mesh): string => `{tp = ${tp}${ep === 1 ? "" : `, ep = ${ep}`}}`;

/** The same as an option: "tp=8,ep=2". */
export const meshWords = ({ tp, ep }: Mesh): string => `tp=${tp}${ep === 1 ? "" : `,ep=${ep}`}`;

/** Reads "tp=8,ep=2" and "tp = 8, ep = 2". Only ep: as many ranks as groups of experts. Throws DSC2014. */
export function parseMesh(text: string, option = "--mesh"): Mesh {
  const fail = (problem: string): never => {
    throw new DiagnosticError(badMesh({ text, problem, option }));
  };
  const given = new Map<string, number>();
  for (const word of text.split(",")) {
    const m = /^\s*([a-z]+)\s*=\s*(\d{1,6})\s*$/.exec(word);
    if (!m) return fail(`${JSON.stringify(word.trim())} is no axis with a number`);
    if (m[1] !== "tp" && m[1] !== "ep") return fail(`there is no axis ${m[1]}`);
    if (given.has(m[1])) return fail(`${m[1]} is given twice`);
    given.set(m[1], Number(m[2]));
  }
  const ep = given.get("ep") ?? 1;
  const tp = given.get("tp") ?? ep;
  return meshOf(tp, ep, fail);
}

/** A mesh of these sizes, checked; `fail` is given what is wrong. */
export function meshOf(tp: number, ep: number, fail: (problem: string) => never): Mesh {
  for (const [name, n] of [
    ["tp", tp],
    ["ep", ep],
  ] as const)
    if (!Number.isSafeInteger(n) || n < 1 || n > MOST_RANKS)
      fail(`${name} is ${n}; it is a whole number from 1 to ${MOST_RANKS}`);
  if (tp % ep !== 0) fail(`ep = ${ep} does not divide tp = ${tp}: experts are divided over groups of the same ranks`);
  return Object.freeze({ tp, ep });
}
