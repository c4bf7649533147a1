// Which op of a fused op's graph a statement of a tile program computes. It lies beside the statements, for it is no part of what they
// do: the same program prints the same text whatever it was written for.
import type { Stmt } from "./stmt.ts";

const parts = new WeakMap<Stmt, string>();

/** Notes that a statement is of an op. */
export const notePart = (s: Stmt, op: string): void => void parts.set(s, op);

/** The ops that statements are of, each once; none where they serve all that their kernel does. */
export const partsOf = (statements: readonly Stmt[]): string[] => [...new Set(statements.flatMap((s) => parts.get(s) ?? []))];
