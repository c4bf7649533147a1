// The ledger of an artifact in words: what every rule did at every place it was tried, and which kernel serves a place.
import type { Manifest } from "../../ir/artifact.ts";
import type { Cost } from "../../ir/index.ts";
import type { Entry, Verdict } from "../../passes/index.ts";
import type { Origins } from "../analysis/origins.ts";
import { isNamed } from "../analysis/tensor-name.ts";
import { flops, size } from "./summary.ts";

/** A place as the ledger names it: function, and value where the entry has one. */
export const placeOf = (e: Entry): string => (e.at === undefined ? e.site : `${e.site}/${e.at}`);

/** "layer3" of an entry point is the function it calls with index 3: places are named by functions. */
export function withoutAlias(site: string, m: Manifest): string[] {
  const parts = site.split("/");
  const at = parts.findIndex((p) => /^layer\d+$/.test(p));
  if (at < 0) return [site];
  const layer = Number(parts[at].slice("layer".length));
  const bodies = Object.values(m.functions).flatMap((f) =>
    f.steps.flatMap((s) => (s.kind === "call" && s.layer === layer ? [s.function] : [])),
  );
  const asked = [...new Set(bodies)].filter((b) => at === 0 || b.startsWith(`${parts.slice(0, at).join("/")}/`));
  return asked.map((b) => [b, ...parts.slice(at + 1)].join("/"));
}

/** Whether a place is the one asked for, lies in it, or is it in any entry point. */
export const lies = (place: string, site: string): boolean =>
  [place, place.slice(place.indexOf("/") + 1)].some((p) => p === site || p.startsWith(`${site}/`));

/** Places by a name: as the plan has them, by layer, or where a tensor is read. */
export function sitesNamed(name: string, manifest: Manifest, { launches, nodes }: Origins): string[] {
  const plain = withoutAlias(name, manifest);
  if (launches.some((l) => plain.some((p) => lies(l.site, p)))) return plain;
  const reading = launches.filter((l) => l.node !== undefined && nodes[l.node].tensors.some((t) => isNamed(t, name)));
  return reading.length ? [...new Set(reading.map((l) => l.site))] : plain;
}

const verdicts: Readonly<Record<Verdict, string>> = {
  fired: "fired",
  declined: "found, and left as it is",
  refused: "found, and refused",
  unmatched: "looked at, and not the pattern",
  none: "nothing to look at",
};

const order = Object.keys(verdicts);

/** What fired first, then what was found and left, then what was only looked at; within a kind as it was. */
export const inOrder = (entries: readonly Entry[]): Entry[] =>
  entries.toSorted((a, b) => order.indexOf(a.outcome) - order.indexOf(b.outcome));

/** "-2 launches, -1.38 MB"; empty where nothing changes. */
function inWords(d: Cost): string {
  const signed = (n: number, text: string): string => `${n < 0 ? "-" : "+"}${text}`;
  return [
    ...(d.launches ? [signed(d.launches, `${Math.abs(d.launches)} launch${Math.abs(d.launches) === 1 ? "" : "es"}`)] : []),
    ...(Math.abs(d.bytes) >= 1 ? [signed(d.bytes, `${size(Math.abs(d.bytes))} moved`)] : []),
    ...(d.flops ? [signed(d.flops, flops(Math.abs(d.flops)))] : []),
  ].join(", ");
}

/** One entry, whole. */
export function printEntry(e: Entry): string {
  const head = `${placeOf(e)}\n  ${e.pass}, "${e.rule}": ${verdicts[e.outcome]}${e.count > 1 ? ` (${e.count} values)` : ""}`;
  const change = e.delta ? inWords(e.delta) : "";
  return [
    head,
    ...(e.reason ? [`    ${e.reason}`] : []),
    ...(change ? [`    ${change}${e.together ? ", with all this pass did here" : ""}`] : []),
    ...(e.changes ? [`    changes the function: ${e.changes}`] : []),
  ].join("\n");
}

const PLACES = 6;

/** A pass: each rule, what it did and where, places with one reason on one line. */
export function printPass(pass: string, entries: readonly Entry[]): string {
  const lines = [pass, ...(entries.length ? [] : ["  nothing fired"])];
  for (const rule of new Set(entries.map((e) => e.rule))) {
    lines.push(`  ${rule}`);
    const groups = new Map<string, Entry[]>();
    for (const e of entries.filter((x) => x.rule === rule)) {
      const key = JSON.stringify([e.outcome, e.reason ?? "", e.outcome === "fired" && e.delta ? inWords(e.delta) : ""]);
      groups.set(key, [...(groups.get(key) ?? []), e]);
    }
    for (const [key, all] of groups) {
      const [outcome, reason, change] = JSON.parse(key) as [Verdict, string, string];
      const places = [...new Set(all.map(placeOf))];
      const more = places.length > PLACES ? ` and ${places.length - PLACES} more` : "";
      lines.push(`    ${verdicts[outcome]}: ${places.slice(0, PLACES).join(", ")}${more}`);
      for (const text of [reason, change]) if (text) lines.push(`      ${text}`);
    }
  }
  return lines.join("\n");
}

/** Every pass and rule with how often each verdict was given. */
export function printOverview(entries: readonly Entry[]): string {
  const kinds = ["fired", "declined", "refused", "unmatched", "none"] as const;
  const width = Math.max(20, ...entries.map((e) => e.rule.length)) + 4;
  const lines = ["pass, rule".padEnd(width) + kinds.map((k) => k.padStart(11)).join("")];
  for (const pass of new Set(entries.map((e) => e.pass))) {
    lines.push(pass);
    for (const rule of new Set(entries.filter((e) => e.pass === pass).map((e) => e.rule))) {
      const of = entries.filter((e) => e.pass === pass && e.rule === rule);
      const counts = kinds.map((k) => of.reduce((n, e) => (e.outcome === k ? n + Math.max(1, e.count) : n), 0));
      lines.push(`  ${rule}`.padEnd(width) + counts.map((n) => String(n || "-").padStart(11)).join(""));
    }
  }
  return lines.join("\n");
}
