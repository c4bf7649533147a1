// A loaded kernel's launches: the tensor maps it encodes, and when it encodes them anew; a driver that writes down what it is asked.
import { expect, test } from "vitest";
import type { Param } from "../../ir/kernel/catalogue.ts";
import type { Size } from "../../ir/size.ts";
import type { Driver } from "../../runtime/devices/cuda/driver.ts";
import { CudaKernel } from "../../runtime/devices/cuda/kernel.ts";

test("a tensor map is encoded once for an address and the sizes of a launch", () => {
  const encoded: { address: number; extents: number[] }[] = [];
  let launches = 0;
  const driver = {
    get: () => 1,
    call: (name: string, ...args: unknown[]) => {
      if (name === "cuLaunchKernelEx") launches++;
      if (name !== "cuTensorMapEncodeTiled") return;
      const [room, , , address, extents] = args as [Uint8Array, number, number, number, BigUint64Array];
      room.fill(encoded.length + 1);
      encoded.push({ address, extents: Array.from(extents, Number) });
    },
    attempt: () => 0,
  } as unknown as Driver;
  const map = (name: string, of: string, rows: Size): Param => ({
    kind: "tensormap",
    name,
    of,
    dtype: "bf16",
    dims: [64, rows],
    strides: [128],
    box: [64, 8],
    swizzle: 128,
  });
  const kernel = new CudaKernel(
    driver,
    {
      name: "k",
      params: [map("x_map", "x", "m"), map("w_map", "w", 512), { kind: "buffer", name: "y", dtype: "bf16", access: "out" }],
      dims: ["m"],
      launch: { grid: [1, 1, 1], block: 128, sharedBytes: 0 },
    },
    new Uint8Array(1),
  );
  const go = (x: number, w: number, m: number): number => {
    const before = encoded.length;
    kernel.enqueue(1, [x, w, 4096], { m, SMs: 132 });
    return encoded.length - before;
  };
  expect(go(256, 512, 3)).toBe(2);
  expect(encoded).toEqual([
    { address: 256, extents: [64, 3] },
    { address: 512, extents: [64, 512] },
  ]);
  expect(go(256, 512, 3)).toBe(0);
  expect(go(256, 768, 3)).toBe(1);
  expect(go(256, 512, 5)).toBe(2);
  expect(encoded.at(-2)).toEqual({ address: 256, extents: [64, 5] });
  // Both sizes are kept, and so is what each was encoded into.
  expect(go(256, 768, 3)).toBe(0);
  expect(go(256, 512, 5)).toBe(0);
  expect(launches).toBe(6);
});
