// Checkpoints as people make them: a fixture's tensors, altered and written to a folder of their own.
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll } from "vitest";
import { saveTensors } from "../../runtime/index.ts";
import { fixture } from "./compiled.ts";

export interface Stored {
  dtype: string;
  shape: number[];
  data: Uint8Array;
}
export type Tensors = Map<string, Stored>;
export type Json = { [key: string]: unknown };

const work = mkdtempSync(path.join(tmpdir(), "dsc-altered-"));
afterAll(() => rmSync(work, { recursive: true }));
let count = 0;

/** A folder with the config and tensors of a fixture, after `alter`. */
export async function altered(
  name: string,
  alter: (tensors: Tensors, config: Json) => void,
  file = "model.safetensors",
): Promise<string> {
  const folder = path.join(work, String(count++));
  mkdirSync(folder);
  const config = JSON.parse(readFileSync(path.join(fixture(name), "config.json"), "utf8")) as Json;
  const tensors = tensorsIn(path.join(fixture(name), "model.safetensors"));
  alter(tensors, config);
  writeFileSync(path.join(folder, "config.json"), JSON.stringify(config, null, 2));
  await saveTensors(
    path.join(folder, file),
    [...tensors].map(([n, t]) => ({ name: n, ...t })),
  );
  return folder;
}

/** A copy of a folder's files. */
export function copied(folder: string): string {
  const to = path.join(work, String(count++));
  cpSync(folder, to, { recursive: true });
  return to;
}

function tensorsIn(file: string): Tensors {
  const raw = readFileSync(file);
  const length = Number(raw.readBigUInt64LE(0));
  const { __metadata__: _, ...header } = JSON.parse(raw.toString("utf8", 8, 8 + length)) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  return new Map(
    Object.entries(header).map(([n, t]) => [
      n,
      {
        dtype: t.dtype,
        shape: t.shape,
        data: new Uint8Array(raw.subarray(8 + length + t.data_offsets[0], 8 + length + t.data_offsets[1])),
      },
    ]),
  );
}

export const f32 = (shape: number[], values: ArrayLike<number>): Stored => ({
  dtype: "F32",
  shape,
  data: new Uint8Array(Float32Array.from(values).buffer),
});
export const bytesOf = (dtype: string, shape: number[], values: ArrayLike<number>): Stored => ({
  dtype,
  shape,
  data: Uint8Array.from(values),
});

/** A bf16 tensor as f32: the same numbers. */
export function widened({ dtype, shape, data }: Stored): Stored {
  if (dtype !== "BF16") throw new Error(`${dtype} is no bf16`);
  const bits = new Uint16Array(data.buffer, data.byteOffset, data.length / 2);
  return { dtype: "F32", shape, data: new Uint8Array(Uint32Array.from(bits, (b) => b << 16).buffer) };
}

/** Rounds the scales of every FP8 weight to powers of two, so that codes times scales are bf16 numbers, and gives their exponents. */
export function evenScales(tensors: Tensors): Map<string, number[]> {
  const exponents = new Map<string, number[]>();
  for (const [name, t] of tensors) {
    if (!name.endsWith("_scale_inv")) continue;
    const powers = [...new Float32Array(t.data.buffer, t.data.byteOffset, t.data.length / 4)].map((s) =>
      Math.round(Math.log2(s)),
    );
    exponents.set(name, powers);
    tensors.set(
      name,
      f32(
        t.shape,
        powers.map((p) => 2 ** p),
      ),
    );
  }
  return exponents;
}

/** FP8 weights that `which` names, as bf16: exact where scales are powers of two. */
export function plainWeights(tensors: Tensors, which: RegExp, exponents: ReadonlyMap<string, number[]>): void {
  for (const [name, t] of tensors) {
    if (t.dtype !== "F8_E4M3" || !which.test(name)) continue;
    const [, width] = t.shape;
    const powers = exponents.get(`${name}_scale_inv`)!;
    const values = Float32Array.from(
      t.data,
      (c, i) =>
        e4m3(c) * 2 ** powers[Math.floor(Math.floor(i / width) / 128) * Math.ceil(width / 128) + Math.floor((i % width) / 128)],
    );
    tensors.set(name, {
      dtype: "BF16",
      shape: t.shape,
      data: new Uint8Array(Uint16Array.from(new Uint32Array(values.buffer), (b) => b >>> 16).buffer),
    });
    tensors.delete(`${name}_scale_inv`);
  }
}

function e4m3(code: number): number {
  const [e, m] = [(code >> 3) & 15, code & 7];
  const magnitude = e === 0 ? m * 2 ** -9 : (8 + m) * 2 ** (e - 10);
  return code & 0x80 ? -magnitude : magnitude;
}
