// dsc inspect OUT KERNEL --origin: every launch of a kernel with its way back to the config.
import type { Manifest } from "../../../ir/artifact.ts";
import type { Launch } from "../../analysis/origins.ts";

/** Every launch with its way back to the config. Launches made of the same keys and rules share a paragraph. */
export function printOrigin(name: string, m: Manifest, launches: readonly Launch[]): string {
  const out = [
    `${name}, family ${m.kernels[name].family}: ${launches.length} launch${launches.length === 1 ? "" : "es"} in the ` +
      `plan; its text is ${m.kernels[name].text}`,
  ];
  const alike = new Map<string, Launch[]>();
  for (const l of launches) {
    const key = JSON.stringify([l.keys, l.rules, l.tensors]);
    alike.set(key, [...(alike.get(key) ?? []), l]);
  }
  for (const group of alike.values()) {
    const { tensors = [], keys = [], rules = [] } = group[0];
    out.push("", ...group.flatMap((l) => [l.site, ...(l.line ? [`    ${l.line.replace(/ {2,}/g, " ")}`] : [])]));
    for (const t of tensors) out.push(`  tensor  ${t}`);
    if (keys.length) out.push(`  config  ${keys.join(", ")}`);
    for (const r of rules) out.push(`  rule    ${r}`);
  }
  return out.join("\n") + "\n";
}
