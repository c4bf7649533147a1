// What part of a step each kernel is.
import { isCall, type StepData } from "./data.ts";
import { h } from "./dom.ts";

/** All launches of a kernel in a step. */
interface KernelShare {
  kernel: string;
  op: string;
  share: number;
  floor: number;
  /** What they are expected to take, where it is known of all of them. */
  expected?: number;
  times: number;
  sites: string[];
}

/** Launches of a step by kernel, the longest first. */
export function byKernel(step: StepData): KernelShare[] {
  const out = new Map<string, KernelShare>();
  for (const f of step.functions)
    for (const l of f.launches) {
      if (isCall(l)) continue;
      const e: KernelShare = out.get(l.kernel) ?? { kernel: l.kernel, op: l.op, share: 0, floor: 0, times: 0, sites: [] };
      if (l.expected) e.expected = (e.expected ?? 0) + f.calls * l.times * l.expected.us;
      e.share += l.share;
      e.times += f.calls * l.times;
      e.floor += f.calls * l.times * l.floor;
      if (!e.sites.includes(l.site)) e.sites.push(l.site);
      out.set(l.kernel, e);
    }
  return [...out.values()].toSorted((a, b) => b.share - a.share);
}

export const shareBar = (share: number): HTMLElement =>
  h("span", { class: "bar", "aria-hidden": "true" }, h("span", { style: `width:${Math.max(0.5, 100 * share)}%` }));
