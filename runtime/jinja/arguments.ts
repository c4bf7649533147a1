// Arguments of filters, methods and functions, taken by position or name as Python does.
import { failure } from "./errors.ts";
import { truthy, typeName, type Args, type Value } from "./values.ts";

/** The values of named parameters, in order; undefined where one was not given. Refuses too many, unknown and doubled ones. */
export function take(name: string, { list, named }: Args, params: readonly string[], required = 0): (Value | undefined)[] {
  if (list.length > params.length)
    throw failure(`${name}() takes at most ${params.length} argument${params.length === 1 ? "" : "s"} (${list.length} given)`);
  const out: (Value | undefined)[] = params.map((_, i) => list[i]);
  for (const [key, value] of named) {
    const i = params.indexOf(key);
    if (i < 0) throw failure(`${name}() got an unexpected keyword argument '${key}'`);
    if (i < list.length) throw failure(`${name}() got multiple values for argument '${key}'`);
    out[i] = value;
  }
  for (let i = 0; i < required; i++)
    if (out[i] === undefined) throw failure(`${name}() missing required argument '${params[i]}'`);
  return out;
}

export function textOr(v: Value | undefined, otherwise: string, what: string): string {
  if (v === undefined) return otherwise;
  if (typeof v !== "string") throw failure(`${what} must be str, not ${typeName(v)}`);
  return v;
}

export const flag = (v: Value | undefined, otherwise = false): boolean => (v === undefined ? otherwise : truthy(v));
