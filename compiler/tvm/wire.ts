// What the process that compiles is asked and answers, as JSON. Numbers that JSON has no word for go as text.
import type { TirFunction } from "../../codegen/tir/ir.ts";

export interface Request {
  /** Names of libtvm_ffi to try, and libraries of TVM in the order in which they are opened. */
  ffi: string[];
  libraries: string[];
  /** TVM's target: kind, mtriple, mcpu. */
  target: Record<string, string>;
  /** Names that functions are exported under. */
  functions: [symbol: string, f: TirFunction][];
  /** Where the object file goes. */
  object: string;
}

const asText = (_: string, v: unknown): unknown =>
  typeof v === "number" && (!Number.isFinite(v) || Object.is(v, -0)) ? { number: Object.is(v, -0) ? "-0" : String(v) } : v;
const asNumber = (_: string, v: unknown): unknown =>
  typeof v === "object" && v !== null && typeof (v as { number?: unknown }).number === "string"
    ? Number((v as { number: string }).number)
    : v;

export const encode = (r: Request): string => JSON.stringify(r, asText);
export const decode = (text: string): Request => JSON.parse(text, asNumber) as Request;
