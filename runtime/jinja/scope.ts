// Names of a template: a scope sees those around it, and what is set in it ends with it.
import { failure } from "./errors.ts";
import type { Target } from "./nodes.ts";
import { Namespace, itemsOf, typeName, type Value } from "./values.ts";

export class Scope {
  private readonly values = new Map<string, Value>();
  private readonly around: Scope | undefined;

  constructor(around?: Scope) {
    this.around = around;
  }

  find(name: string): Value | undefined {
    const value = this.values.get(name);
    return value === undefined ? this.around?.find(name) : value;
  }

  set(name: string, value: Value): void {
    this.values.set(name, value);
  }

  assign(target: Target, value: Value): void {
    if (target.kind === "name") return this.set(target.name, value);
    if (target.kind === "attribute") {
      const of = this.find(target.of);
      if (!(of instanceof Namespace)) throw failure("cannot assign attribute on non-namespace object");
      if (target.name.startsWith("_"))
        throw failure(`Chat templates cannot store underscore-prefixed attributes on a namespace, but got '${target.name}'`);
      of.values.set(target.name, value);
      return;
    }
    const items = itemsOf(value);
    const wanted = target.items.length;
    if (!items) throw failure(`cannot unpack non-iterable ${typeName(value)} object`);
    if (items.length < wanted) throw failure(`not enough values to unpack (expected ${wanted}, got ${items.length})`);
    if (items.length > wanted) throw failure(`too many values to unpack (expected ${wanted})`);
    target.items.forEach((t, i) => this.assign(t, items[i]));
  }
}
