// Weights of the hand-made model, in numbers and in a folder.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect } from "vitest";
import { saveTensors } from "../../runtime/safetensors-write.ts";
import { H, V, type ToyWeights } from "./toy.ts";

export const folder = mkdtempSync(join(tmpdir(), "dsc-session-"));
afterAll(() => rmSync(folder, { recursive: true }));

const grid = (n: number, salt: number): number[] =>
  Array.from({ length: n }, (_, i) => (((i + 1) * 7919 * salt) % 17) / 16 - 0.5);
export const w: ToyWeights = {
  embed: grid(V * H, 1),
  head: grid(V * H, 3),
  gain: [grid(H, 5), grid(H, 7)],
  by: [
    [0.5, 9, 0.75],
    [1.5, 9, 0.25],
  ],
};

const tensors = (): Parameters<typeof saveTensors>[1] => {
  const t = (name: string, shape: number[], data: number[]) => ({ name, shape, dtype: "F32", data: Float32Array.from(data) });
  return [
    t("model.embed_tokens.weight", [V, H], w.embed),
    t("lm_head.weight", [V, H], w.head),
    ...w.gain.map((g, i) => t(`model.layers.${i}.input_layernorm.weight`, [H], g)),
    ...w.by.flatMap((by, i) => by.map((b, e) => t(`model.layers.${i}.experts.${e}.by.bias`, [1], [b]))),
  ];
};

beforeAll(() => saveTensors(join(folder, "model.safetensors"), tensors()));

export function close(got: ArrayLike<number>, want: number[]): void {
  expect(got.length).toBe(want.length);
  want.forEach((v, i) => expect(Math.abs(got[i] - v)).toBeLessThan(1e-4 * Math.max(1, Math.abs(v))));
}
