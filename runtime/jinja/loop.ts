// The `loop` of a loop.
import { take } from "./arguments.ts";
import { failure } from "./errors.ts";
import { Callable, Thing, Undefined, equal, type Args, type Value } from "./values.ts";

/** What `loop` gives at item `i`. `again` runs the loop over other items, where it is recursive. */
export class Loop {
  index = 0;
  private last: Value[] | undefined;
  readonly value: Thing;

  constructor(items: readonly Value[], depth: number, again: ((items: Value) => Value) | undefined) {
    const n = items.length;
    const at = (i: number, what: string): Value => (i < 0 || i >= n ? new Undefined(`there is no ${what} item`) : items[i]);
    const facts: Record<string, () => Value> = {
      index: () => BigInt(this.index + 1),
      index0: () => BigInt(this.index),
      revindex: () => BigInt(n - this.index),
      revindex0: () => BigInt(n - this.index - 1),
      first: () => this.index === 0,
      last: () => this.index === n - 1,
      length: () => BigInt(n),
      depth: () => BigInt(depth),
      depth0: () => BigInt(depth - 1),
      previtem: () => at(this.index - 1, "previous"),
      nextitem: () => at(this.index + 1, "next"),
      cycle: () =>
        new Callable("cycle", ({ list }) => {
          if (list.length === 0) throw failure("no items for cycling given");
          return list[this.index % list.length];
        }),
      changed: () =>
        new Callable("changed", ({ list }) => {
          const same = this.last !== undefined && equal(this.last, list);
          this.last = list;
          return !same;
        }),
    };
    this.value = new Thing(
      "LoopContext",
      (name) => (Object.hasOwn(facts, name) ? facts[name]() : undefined),
      (args: Args) => {
        const [over] = take("loop", args, ["iterable"], 1);
        if (!again) throw failure("The loop must have the 'recursive' marker to be called recursively.");
        return again(over!);
      },
    );
  }
}
