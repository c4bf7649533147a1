// Statements of a template, run: what they write is the text.
import { nested, spend, written } from "./budget.ts";
import { Fault, failure } from "./errors.ts";
import { argumentsOf, call, evaluate, runFilter } from "./evaluate.ts";
import { Loop } from "./loop.ts";
import type { Expr, Signature, Stmt } from "./nodes.ts";
import { Scope } from "./scope.ts";
import { str } from "./text.ts";
import { Callable, Undefined, iterate, truthy, tuple, type Args, type Value } from "./values.ts";

type Leaves = "break" | "continue" | undefined;

export class Renderer {
  private out: string[] = [];

  /** Runs statements in a scope; what they write. */
  text(body: readonly Stmt[], scope: Scope): string {
    return this.captured(() => this.run(body, scope));
  }

  private captured(run: () => unknown): string {
    const before = this.out;
    this.out = [];
    try {
      run();
      return this.out.join("");
    } finally {
      this.out = before;
    }
  }

  private write(text: string): void {
    written(text.length);
    this.out.push(text);
  }

  private run(body: readonly Stmt[], scope: Scope): Leaves {
    for (const s of body) {
      spend(1);
      try {
        const leaves = this.statement(s, scope);
        if (leaves) return leaves;
      } catch (fault) {
        if (fault instanceof Fault) fault.at ??= s.at;
        throw fault;
      }
    }
    return undefined;
  }

  private statement(s: Stmt, scope: Scope): Leaves {
    switch (s.kind) {
      case "text":
        return void this.write(s.text);
      case "print":
        return void this.write(str(evaluate(s.of, scope)));
      case "set":
        return scope.assign(s.target, evaluate(s.value, scope)) as undefined;
      case "capture":
        return scope.assign(s.target, this.filtered(s.filter, this.text(s.body, new Scope(scope)), scope)) as undefined;
      case "filterblock":
        return void this.write(str(this.filtered(s.filter, this.text(s.body, new Scope(scope)), scope)));
      case "if": {
        const taken = s.branches.find(([test]) => truthy(evaluate(test, scope)));
        return nested(() => this.run(taken ? taken[1] : s.otherwise, scope));
      }
      case "for":
        return void nested(() => this.loop(s, iterate(evaluate(s.over, scope)), scope, 1));
      case "macro":
        return scope.set(s.macro.name, this.macro(s.macro, scope)) as undefined;
      case "callblock": {
        if (s.call.kind !== "call") throw failure("expected call");
        const args = argumentsOf(s.call.args, scope);
        args.named.set("caller", this.macro(s.macro, scope));
        return void this.write(str(call(evaluate(s.call.of, scope), args)));
      }
      case "with": {
        const inner = new Scope(scope);
        const values = s.values.map((v) => evaluate(v, scope));
        s.targets.forEach((t, i) => inner.assign(t, values[i]));
        return nested(() => this.run(s.body, inner));
      }
      case "scope":
        return nested(() => this.run(s.body, new Scope(scope)));
      case "break":
      case "continue":
        return s.kind;
    }
  }

  /** A text through a chain of filters whose innermost has no value of its own. */
  private filtered(chain: Expr | undefined, text: string, scope: Scope): Value {
    if (!chain) return text;
    if (chain.kind !== "filter") throw failure("expected a filter");
    return runFilter(chain.name, chain.of ? this.filtered(chain.of, text, scope) : text, argumentsOf(chain.args, scope));
  }

  private loop(s: Stmt & { kind: "for" }, given: readonly Value[], scope: Scope, depth: number): void {
    const bound = (item: Value): Scope => {
      // A scope costs more than a node.
      spend(10);
      const inner = new Scope(scope);
      inner.assign(s.target, item);
      return inner;
    };
    const { filter } = s;
    const items = filter ? given.filter((x) => truthy(evaluate(filter, bound(x)))) : given;
    if (items.length === 0) {
      this.run(s.otherwise, new Scope(scope));
      return;
    }
    const again = (over: Value): Value => nested(() => this.captured(() => this.loop(s, iterate(over), scope, depth + 1)));
    const loop = new Loop(items, depth, s.recursive ? again : undefined);
    for (const item of items) {
      const inner = bound(item);
      inner.set("loop", loop.value);
      if (this.run(s.body, inner) === "break") break;
      loop.index++;
    }
  }

  private macro({ name, params, defaults, body }: Signature, scope: Scope): Callable {
    const uses = (what: string): boolean => !params.includes(what) && mentions(body, what);
    const [caller, kwargs, varargs] = [uses("caller"), uses("kwargs"), uses("varargs")];
    const run = ({ list, named }: Args): Value =>
      nested(() => {
        const inner = new Scope(scope);
        const left = new Map(named);
        const given = params.map((p, i) => {
          if (i < list.length) return list[i];
          const v = left.get(p);
          left.delete(p);
          return v;
        });
        params.forEach((p, i) =>
          inner.set(p, given[i] === undefined ? new Undefined(`parameter '${p}' was not provided`) : given[i]),
        );
        // A default sees the parameters, its own among them.
        defaults.forEach((d, i) => {
          const at = params.length - defaults.length + i;
          if (given[at] === undefined) inner.set(params[at], evaluate(d, inner));
        });
        if (caller) {
          inner.set("caller", left.get("caller") ?? new Undefined("No caller defined"));
          left.delete("caller");
        }
        if (kwargs) inner.set("kwargs", left as Map<Value, Value>);
        else if (left.size)
          throw failure(
            left.has("caller")
              ? `macro '${name}' was invoked with a caller, and does not use it`
              : `macro '${name}' takes no keyword argument '${[...left.keys()][0]}'`,
          );
        if (varargs) inner.set("varargs", tuple(...list.slice(params.length)));
        else if (list.length > params.length) throw failure(`macro '${name}' takes not more than ${params.length} argument(s)`);
        return this.text(body, inner);
      });
    const facts: [string, Value][] = [
      ["name", name],
      ["arguments", tuple(...params)],
      ["catch_kwargs", kwargs],
      ["catch_varargs", varargs],
      ["caller", caller],
    ];
    return new Callable(name, run, new Map(facts));
  }
}

/** Whether a name occurs in a tree. */
function mentions(tree: unknown, name: string): boolean {
  if (typeof tree !== "object" || tree === null) return false;
  if (Array.isArray(tree)) return tree.some((x) => mentions(x, name));
  if ("kind" in tree && tree.kind === "name" && (tree as { name?: string }).name === name) return true;
  return Object.values(tree).some((x) => mentions(x, name));
}
