// Routing and the moves around grouped products. Counts and offsets live on the device.
import { f, kernel } from "../../ir/kernel/build.ts";
import type { Arg } from "../../ir/kernel/catalogue.ts";
import type { Kernel } from "../../ir/kernel/stmt.ts";
import { family, one, strided } from "../family.ts";
import { act, asRows, elements, num } from "../layouts.ts";
import { when } from "../text.ts";

/** Below every score, above what is already taken. */
const OUT = -3e38;
const TAKEN = -3.4e38;

export interface RouteProblem {
  experts: number;
  topk: number;
  groups: number;
  kept: number;
  scoring: "sigmoid" | "softmax";
  method: "noaux_tc" | "greedy" | "group_limited_greedy";
  normalise: boolean;
  factor: number;
  bias: boolean;
  xStride: number;
  act?: "bf16";
  /** Experts behind the routed ones that every token visits, with weight 1. */
  shared?: number;
}

/** logits [T, e] -> indices ascending i32 [T, k], weights f32 [T, k]. */
function route(p: RouteProblem): Kernel {
  const { experts: e } = p;
  return kernel({
    name: `route_${e}_top${p.topk}${when(p.shared, `_shared${p.shared}`)}`,
    summary: "Score experts, keep the best groups, choose the best experts of those, weigh them.",
    params: {
      logits: { dtype: p.act ?? "f32", shape: ["T", e], strides: [p.xStride, 1] },
      ...(p.bias ? { bias: { dtype: "f32", shape: [e] } as const } : {}),
      indices: { dtype: "i32", shape: ["T", p.topk + (p.shared ?? 0)], access: "out" },
      weights: { dtype: "f32", shape: ["T", p.topk + (p.shared ?? 0)], access: "out" },
    },
    dims: ["T"],
    body(k, { logits, bias, indices, weights }) {
      k.grid({ i: ["T", 1] });
      const v = k.load("v", 1, e, logits, { at: ["i", 0], cols: 1 });
      const expert = k.iota("expert", 1, e, "cols");
      let scores;
      if (p.scoring === "sigmoid") scores = k.map("scores", f.div(1, f.add(1, f.exp(f.neg(v)))));
      else {
        const powers = k.map("powers", f.exp(f.sub(v, k.reduce("top", v, "max", "cols"))));
        scores = k.map("scores", f.div(powers, k.reduce("total", powers, "sum", "cols")));
      }
      // The bias chooses, it never weighs.
      const choice = k.map("choice", bias ? f.add(scores, k.load("b", 1, e, bias, { at: [0], cols: 0 })) : f.add(scores, 0));
      if (p.method !== "greedy" && p.groups > 1) {
        const width = e / p.groups;
        const group = k.map("group", f.div(expert, width), "i32");
        const slot = k.iota("slot", 1, p.groups, "cols");
        const rank = k.fill("rank", 1, p.groups, 0);
        k.loop("g", 0, p.groups, 1, () => {
          const mine = k.map("mine", f.select(f.eq(group, f.index("g")), choice, OUT));
          const first = k.reduce("first", mine, "max", "cols");
          if (p.method === "noaux_tc" && width > 1) {
            const at = k.reduce("at", mine, "argmax", "cols");
            const second = k.reduce("second", k.map("rest", f.select(f.eq(expert, at), OUT, mine)), "max", "cols");
            k.set(rank, f.select(f.eq(slot, f.index("g")), f.add(first, second), rank));
          } else k.set(rank, f.select(f.eq(slot, f.index("g")), first, rank));
        });
        const keep = k.fill("keep", 1, e, 0, "i32");
        k.loop("g", 0, p.kept, 1, () => {
          const best = k.reduce("best", rank, "argmax", "cols");
          k.set(keep, f.select(f.eq(group, best), 1, keep));
          k.set(rank, f.select(f.eq(slot, best), TAKEN, rank));
        });
        k.set(choice, f.select(keep, choice, OUT));
      }
      const chosen = k.fill("chosen", 1, e, 0, "i32");
      k.loop("j", 0, p.topk, 1, () => {
        const best = k.reduce("best", choice, "argmax", "cols");
        k.set(chosen, f.select(f.eq(expert, best), 1, chosen));
        k.set(choice, f.select(f.eq(expert, best), TAKEN, choice));
      });
      const total = k.map(
        "sum",
        p.normalise
          ? f.add(k.reduce("picked", k.map("kept_scores", f.select(chosen, scores, 0)), "sum", "cols"), 1e-20)
          : f.add(k.fill("one", 1, 1, 1), 0),
      );
      // Ascending order: the least expert still chosen, once per slot.
      k.loop("j", 0, p.topk, 1, () => {
        const next = k.reduce("next", k.map("left", f.select(chosen, expert, e), "i32"), "min", "cols");
        const score = k.reduce("score", k.map("only", f.select(f.eq(expert, next), scores, 0)), "sum", "cols");
        k.store(next, indices, { at: ["i", "j"] });
        k.store(k.map("w", f.mul(f.div(score, total), p.factor)), weights, { at: ["i", "j"] });
        k.set(chosen, f.select(f.eq(expert, next), 0, chosen));
      });
      for (let s = 0; s < (p.shared ?? 0); s++) {
        k.store(k.fill("always", 1, 1, e + s, "i32"), indices, { at: ["i", p.topk + s] });
        k.store(k.fill("one", 1, 1, 1), weights, { at: ["i", p.topk + s] });
      }
    },
  });
}

/** What an attribute says, of the words there are for it. */
function wordOf<const W extends string>(v: unknown, words: readonly W[]): W {
  const word = words.find((w) => w === v);
  if (word === undefined) throw new RangeError(`expected one of ${words.join(", ")}, got ${String(v)}`);
  return word;
}

export const routeFamily = family({
  name: "route",
  serves: ["route"],
  match({ ins, attrs }) {
    const logits = asRows(ins[0]);
    if (!logits) return strided;
    const bias = ins.length > 1;
    const problem = {
      experts: num(ins[0].shape[1]),
      topk: num(attrs.topk),
      groups: num(attrs.groups),
      kept: num(attrs.kept),
      scoring: wordOf(attrs.scoring, ["sigmoid", "softmax"]),
      method: wordOf(attrs.method, ["noaux_tc", "greedy", "group_limited_greedy"]),
      normalise: attrs.normalise === true,
      factor: num(attrs.factor),
      bias,
      xStride: logits.stride,
      ...(attrs.shared ? { shared: num(attrs.shared) } : {}),
      ...act(ins[0]),
    };
    const biases: Arg[] = bias ? [{ in: 1 }] : [];
    return one(problem, [{ in: 0 }, ...biases, { out: 0 }, { out: 1 }], [logits.rows]);
  },
  kernel: route,
});

export interface SortProblem {
  experts: number;
  /** Slots of a token. */
  k: number;
}

/** Pairs (token, slot) by expert, stably; cell e finds its own place by counting what comes before. */
function sortExperts(p: SortProblem): Kernel {
  return kernel({
    name: `sort_experts_${p.experts}_top${p.k}`,
    summary: "Order the pairs (token, slot) by expert; offsets[e] is where expert e begins, places[p] where pair p went.",
    params: {
      indices: { dtype: "i32", shape: ["r"] },
      order: { dtype: "i32", shape: ["r"], access: "out" },
      offsets: { dtype: "i32", shape: [p.experts + 1], access: "out" },
      places: { dtype: "i32", shape: ["r"], access: "out" },
    },
    dims: ["r"],
    body(k, { indices, order, offsets, places }) {
      k.grid({ e: [p.experts + 1, 1] });
      const load = (): ReturnType<typeof k.load> =>
        k.load("expert", 128, 1, indices, { at: ["c"], rows: 0, rowLimit: "r" }, p.experts + 1);
      const before = k.fill("before", 1, 1, 0, "i32");
      k.loop("c", 0, "r", 128, () =>
        k.set(before, f.add(before, k.reduce("less", k.map("is_less", f.lt(load(), f.index("e")), "i32"), "sum", "rows"))),
      );
      k.store(before, offsets, { at: ["e"] });
      k.loop("c", 0, "r", 128, () => {
        const mine = k.map("mine", f.eq(load(), f.index("e")), "i32");
        // Pairs of other experts are sent past the end, where the store masks them.
        const to = k.map("to", f.select(mine, f.add(before, k.scan("ahead", mine)), f.index("r")), "i32");
        const pair = k.iota("pair", 128, 1, "rows", "c");
        k.store(pair, order, { at: [0], rows: 0, rowIndex: to, rowLimit: "r" });
        const own = k.map("own", f.select(mine, pair, f.index("r")), "i32");
        k.store(to, places, { at: [0], rows: 0, rowIndex: own, rowLimit: "r" });
        k.set(before, f.add(before, k.reduce("count", mine, "sum", "rows")));
      });
    },
  });
}

export const sortExpertsFamily = family({
  name: "sort_experts",
  serves: ["sort_experts"],
  match: ({ ins, attrs }) =>
    one(
      { experts: num(attrs.experts), k: num(ins[0].shape[1]) },
      [{ in: 0 }, { out: 0 }, { out: 1 }, { out: 2 }],
      [elements(ins[0])],
    ),
  kernel: sortExperts,
});
