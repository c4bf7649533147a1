// What lies in the device's memory, over the stand-in for the driver: weights that are no numbers, made there, brought from files, or
// too many; and a machine without a driver.
import { spawnSync } from "node:child_process";
import { statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect, test, vi } from "vitest";
import { storedIn } from "../../compiler/checkpoint-dtypes.ts";
import type { StoredArray } from "../../runtime/device.ts";
import { identityOf } from "../../runtime/files.ts";
import { Model } from "../../runtime/model.ts";
import { describe as describeWeight, fill, formBytes, type Form } from "../../runtime/synthetic.ts";
import { widen } from "../../runtime/widen.ts";
import { fixtures } from "../interpreted.ts";
import { lacks } from "../conditions.ts";
import { altered, type Tensors } from "./altered.ts";
import { openDevice, work } from "./cuda-device.ts";

test.skipIf(lacks("g++"))(
  "stored values that are no numbers are refused once they lie in the device's memory, with tensor and layer",
  async () => {
    const put = (t: Tensors, name: string, at: number, bytes: number[]): void => t.get(name)!.data.set(bytes, at);
    const expert = "model.layers.1.mlp.experts.3.up_proj.weight";
    const cases: [fixture: string, tensor: string, alter: (t: Tensors) => void][] = [
      ["a07-v3-fp8", expert, (t) => put(t, expert, 4242, [0x7f])],
      ["a07-v3-fp8", `${expert}_scale_inv`, (t) => put(t, `${expert}_scale_inv`, 4, [0, 0, 0x80, 0x7f])],
      [
        "a01-v3-yarn",
        "model.layers.1.mlp.gate.e_score_correction_bias",
        (t) => put(t, "model.layers.1.mlp.gate.e_score_correction_bias", 28, [1, 0, 0x80, 0xff]),
      ],
      [
        "a01-v3-yarn",
        "model.layers.0.self_attn.kv_b_proj.weight",
        (t) => put(t, "model.layers.0.self_attn.kv_b_proj.weight", 62, [0xc0, 0x7f]),
      ],
    ];
    for (const [name, tensor, alter] of cases) {
      const folder = await altered(name, alter);
      const { manifest, device } = await openDevice(folder, { activations: "bf16", stored: await storedIn(folder) });
      await expect(Model.open(manifest, device, { weights: folder })).rejects.toThrow(
        `DSC5015]: ${tensor} holds a value that is not a number`,
      );
    }
  },
);

test.skipIf(lacks("g++"))("synthetic weights made on the device have the bytes of those made here, in every form", async () => {
  const { device } = await openDevice(fixtures[0], { activations: "bf16" });
  const names: [string, Form][] = [
    ["model.layers.0.self_attn.q_a_proj.weight", "bf16"],
    ["model.layers.0.input_layernorm.weight", "bf16-in-f32"],
    ["model.norm.weight", "f32"],
    ["model.layers.0.mlp.gate_proj.weight", "e4m3"],
    ["model.layers.0.mlp.gate_proj.weight", "scale"],
    ["model.layers.0.mlp.gate_proj.weight", "scale-ue8m0"],
  ];
  for (const [name, form] of names) {
    const count = 70_001;
    const recipe = describeWeight(7, name, [count, 64], form);
    const at = device.allocate(count * 4, name);
    await device.fill([{ at, recipe, start: 3, count, bytes: formBytes(form) }]);
    const want = new ArrayBuffer(count * formBytes(form));
    fill(want, 0, recipe, 3, count);
    expect(Buffer.compare(device.read(at, want.byteLength), new Uint8Array(want)), form).toBe(0);
    device.release(at);
  }
  // Columns of a matrix, as several shared experts in one have them, into rows that lie further apart than they are wide.
  const recipe = describeWeight(7, "model.layers.1.mlp.shared_experts.down_proj.weight", [30, 64], "bf16");
  const at = device.allocate(30 * 40 * 2, "columns");
  device.clear(at, 30 * 40 * 2);
  await device.fill([{ at, recipe, start: 32, count: 30 * 32, bytes: 2, runs: { width: 32, pitch: 64, apart: 40 } }]);
  const [whole, got] = [new ArrayBuffer(30 * 64 * 2), device.read(at, 30 * 40 * 2)];
  fill(whole, 0, recipe, 0, 30 * 64);
  for (let r = 0; r < 30; r++) {
    const want = new Uint8Array(whole, (r * 64 + 32) * 2, 64);
    expect(Buffer.compare(got.subarray(r * 80, r * 80 + 64), want), `row ${r}`).toBe(0);
    expect(got.subarray(r * 80 + 64, (r + 1) * 80).every((b) => b === 0)).toBe(true);
  }
  // Once weights are in place nothing more is compiled.
  const { device: sealed } = await openDevice(fixtures[0], { activations: "bf16" });
  sealed.seal();
  await expect(sealed.fill([])).rejects.toThrow(/DSC5610/);
  await Promise.all([device.close(), sealed.close()]);
});

test.skipIf(lacks("g++"))(
  "arrays of files come to the device in the form they are used in, by threads; a file that ends early is named",
  async () => {
    const { device } = await openDevice(fixtures[0], { activations: "bf16" });
    const file = path.join(work, "array.bin");
    const bytes = Uint8Array.from({ length: 5_000_003 }, (_, i) => (i * 2654435761) >>> 13);
    writeFileSync(file, bytes);
    const begin = 3;
    const forms: [StoredArray["form"], number, number][] = [
      ["same", 1, 1],
      ["bf16", 2, 4],
      ["f16", 2, 4],
      ["e8m0", 1, 4],
    ];
    const stored = (form: StoredArray["form"], size: number, at: number, more: Partial<StoredArray> = {}): StoredArray => ({
      at,
      count: size,
      form,
      bytes: size,
      file: { path: file, begin, tensor: "w", identity: identityOf(statSync(file)) },
      read: () => Promise.reject(new Error("threads read by themselves")),
      ...more,
    });
    for (const [form, narrow, wide] of forms) {
      const count = 1_200_000;
      const at = device.allocate(count * wide, form);
      await device.place([stored(form, count * narrow, at)]);
      const want = new ArrayBuffer(count * wide);
      new Uint8Array(want).set(bytes.subarray(begin, begin + count * narrow), count * (wide - narrow));
      if (form !== "same") widen(form, want, 0, count);
      expect(Buffer.compare(device.read(at, want.byteLength), new Uint8Array(want)), form).toBe(0);
      device.release(at);
    }
    const [rows, width, pitch] = [700, 3686, 3696];
    const at = device.allocate(rows * pitch, "rows");
    await device.place([stored("same", rows * width, at, { rows: { bytes: width, pitch, stored: width } })]);
    const got = device.read(at, rows * pitch);
    for (const r of [0, 1, 283, 284, 699]) {
      expect(
        Buffer.compare(got.subarray(r * pitch, r * pitch + width), bytes.subarray(begin + r * width, begin + (r + 1) * width)),
      ).toBe(0);
      expect(got.subarray(r * pitch + width, (r + 1) * pitch).every((b) => b === 0)).toBe(true);
    }
    // A part of the columns: rows that lie apart in the file, the last of which ends with it.
    const part = { bytes: 1536, pitch: 1536, stored: 4996 };
    const many = 1001;
    const to = device.allocate(many * part.bytes, "columns");
    const last = { path: file, begin: bytes.length - (many - 1) * part.stored - part.bytes, tensor: "w" };
    await device.place([
      stored("same", many * part.bytes, to, { rows: part, file: { ...last, identity: identityOf(statSync(file)) } }),
    ]);
    const columns = device.read(to, many * part.bytes);
    for (let r = 0; r < many; r++) {
      const from = last.begin + r * part.stored;
      expect(
        Buffer.compare(columns.subarray(r * part.bytes, (r + 1) * part.bytes), bytes.subarray(from, from + part.bytes)),
        `row ${r}`,
      ).toBe(0);
    }
    await expect(device.place([stored("same", 5_000_001, device.allocate(5_000_001, "w"))])).rejects.toThrow(
      /array\.bin[^]*the file changed after its header was read/,
    );
    await device.close();
  },
);

test.skipIf(lacks("g++"))("a model that does not fit is refused before a weight is read", async () => {
  const { manifest, device } = await openDevice(fixtures[0], { activations: "bf16" });
  vi.spyOn(device, "available").mockReturnValue(1000);
  const placed = vi.spyOn(device, "place");
  await expect(Model.open(manifest, device, { weights: fixtures[0] })).rejects.toThrow(
    /DSC5605.*not enough GPU memory for the model/,
  );
  expect(placed).not.toHaveBeenCalled();
});

test.skipIf(lacks("no GPU"))("a machine without a driver is told so, and what to do instead", () => {
  const cli = path.resolve(import.meta.dirname, "../../dist/compiler/cli.js");
  const r = spawnSync(
    process.execPath,
    [
      cli,
      "run",
      path.resolve(import.meta.dirname, "../../examples/tiny-r1"),
      "--target",
      "cuda",
      "--ids",
      "1,2",
      "--max-new",
      "1",
    ],
    {
      encoding: "utf8",
      env: { ...process.env, DSC_CACHE: path.join(work, "cache") },
    },
  );
  expect(r.status).toBe(1);
  expect(r.stderr).toMatch(/^error\[DSC5601\]: no CUDA driver[^]*--target cpu/);
  expect(r.stderr).not.toMatch(/\n\s+at /);
});
