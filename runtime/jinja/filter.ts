// What a filter of a template is.
import type { Args, Value } from "./values.ts";

/** Names of filters and tests, called by filters such as map and select. */
interface Named {
  run: (name: string, v: Value, args: Args) => Value;
  test: (name: string, v: Value, args: readonly Value[]) => boolean;
}

/** A filter; `how` calls another, or a test, by its name. */
export type Filter = (v: Value, args: Args, how: Named) => Value;
