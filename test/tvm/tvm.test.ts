// dsc/tvm: values both ways, errors, references, libraries made with and without tvm-ffi's own macro, and what loading leaves alone.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import * as tvm from "../../runtime/tvm/index.ts";
import { lacks } from "../conditions.ts";
import { compiled, ffiFlags } from "./build.ts";

const work = mkdtempSync(path.join(tmpdir(), "dsc-tvm-"));
afterAll(() => rmSync(work, { recursive: true }));

/** What a call throws. */
function raised(f: () => unknown): tvm.TvmError {
  try {
    f();
  } catch (e) {
    expect(e).toBeInstanceOf(tvm.TvmError);
    return e as tvm.TvmError;
  }
  throw new Error("nothing was raised");
}

const f32 = (...values: number[]): tvm.Tensor => new tvm.Tensor(Float32Array.from(values), [values.length], "float32");

describe.skipIf(lacks("tvm-ffi"))("with libtvm_ffi", () => {
  test("values come back as they went", () => {
    const echo = tvm.callback((x) => x);
    const ints = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
    fc.assert(
      fc.property(ints, (n) => {
        expect(BigInt(echo.call(n) as number)).toBe(n);
      }),
    );
    fc.assert(
      fc.property(fc.oneof(fc.double({ noNaN: true }), fc.maxSafeInteger(), fc.boolean(), fc.constant(null)), (v) => {
        // A whole number is an int there, which has no negative zero.
        expect(echo.call(v)).toBe(Object.is(v, -0) ? 0 : v);
      }),
    );
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 40 }), fc.uint8Array({ maxLength: 40 }), (text, bytes) => {
        const plain = text.replaceAll("\0", "");
        expect(echo.call(plain)).toBe(plain);
        expect(echo.call(bytes)).toEqual(bytes);
      }),
    );
    expect(echo.call(tvm.float(3))).toBe(3);
    expect(echo.call(tvm.dtype("bfloat16"))).toEqual(tvm.dtype("bfloat16"));
    expect(echo.call(tvm.device("cuda", 1))).toEqual(tvm.device("cuda", 1));
    expect(echo.call(tvm.pointer(4096))).toEqual(tvm.pointer(4096));
    expect(() => echo.call("a\0b")).toThrow(/DSC5703.*NUL/s);
    expect(() => echo.call(2n ** 63n)).toThrow(/DSC5703.*64 bits/s);
    expect(() => echo.call({} as never)).toThrow(/DSC5703/);
  });

  test("lists, maps and what lies in them; errors of theirs by kind", () => {
    const list = tvm.array([1, "a text of more than seven bytes", tvm.array([2.5, null])]);
    expect([list.length, list.at(1), [...(list.at(2) as tvm.TvmArray)]]).toEqual([
      3,
      "a text of more than seven bytes",
      [2.5, null],
    ]);
    expect(list.typeKey).toBe("ffi.Array");
    const map = tvm.map([
      ["one", 1],
      ["two", list],
    ]);
    expect([map.size, map.get("one"), map.has("three")]).toEqual([2, 1, false]);
    expect([...map].map(([key]) => key)).toEqual(["one", "two"]);
    expect(raised(() => list.at(3))).toMatchObject({ name: "IndexError" });
    const { name, message, backtrace } = raised(() => map.get("three"));
    expect([name, message]).toEqual(["KeyError", "key is not in Map"]);
    expect(backtrace).toContain("map_base.h");
    expect(() => tvm.func("ffi.Nothing")).toThrow(/DSC5705/);
    expect(tvm.names()).toContain("ffi.ArraySize");
  });

  test("functions of Node: called back, nested, raising, registered by name, freed with their last reference", async () => {
    const fib: tvm.TvmFunction = tvm.callback(
      (n) =>
        ((n as number) < 2 ? n : (fib.call((n as number) - 1) as number) + (fib.call((n as number) - 2) as number)) as number,
    );
    expect(fib.call(12)).toBe(144);
    const broken = tvm.callback(() => {
      throw new RangeError("out of it");
    });
    expect(raised(() => broken.call())).toMatchObject({ name: "RangeError", message: "out of it" });
    tvm.register("dsc.test.times", (a, b) => (a as number) * (b as number));
    expect(tvm.call("dsc.test.times", 6, 7)).toBe(42);
    tvm.register("dsc.test.times", () => "another");
    expect(tvm.call("dsc.test.times", 6, 7)).toBe("another");
    const gone = tvm.callback(() => 1);
    gone.dispose();
    expect(() => gone.call()).toThrow(/DSC5704/);
    await new Promise((done) => setImmediate(done));
  });

  test("a stream is the current one for as long as a body runs", () => {
    const gpu = { type: "cuda", id: 0 } as const;
    expect(tvm.currentStream(gpu)).toBe(0);
    expect(tvm.withStream(gpu, 4096, () => tvm.currentStream(gpu))).toBe(4096);
    expect(() => tvm.withStream(gpu, 4096, () => tvm.array([]).at(0))).toThrow(tvm.TvmError);
    expect(tvm.currentStream(gpu)).toBe(0);
  });

  test("a million calls hold no reference and no memory", () => {
    const list = tvm.array([1, 2, "three is a longer text"]);
    const size = tvm.func("ffi.ArraySize");
    const item = tvm.func("ffi.ArrayGetItem");
    const tensor = f32(1, 2, 3);
    const echo = tvm.callback(() => null);
    const round = (n: number): void => {
      for (let i = 0; i < n; i++) {
        size.call(list);
        if (i % 16 === 0) item.call(list, 2);
        if (i % 64 === 0) echo.call(tensor, "text", list);
      }
    };
    round(50_000);
    const [held, before] = [tvm.heldReferences(), process.memoryUsage().rss];
    round(1_000_000);
    // Arguments of callbacks are objects of ours until they are collected: those of one list, in no larger number than calls.
    expect(tvm.heldReferences() - held).toBeLessThanOrEqual(1_000_000 / 64 + 1);
    expect(process.memoryUsage().rss - before).toBeLessThan(96e6);
  });

  test("WebAssembly's traps are exceptions still", () => {
    tvm.about();
    const reads = "0061736d0100000001060160017f017f030201000503010001070501016600000a09010700200028020 00b".replace(" ", "");
    const f = new WebAssembly.Instance(new WebAssembly.Module(Buffer.from(reads, "hex"))).exports.f as (at: number) => number;
    expect(f(0)).toBe(0);
    expect(() => f(0x7ffffff0)).toThrow(WebAssembly.RuntimeError);
  });

  test.skipIf(lacks("g++"))("a plain C library: results in our memory, wrong arguments as it says them", () => {
    const add = tvm.loadModule(compiled(work, "gcc", "plain.c")).get("add_scalar");
    const out = new Float32Array(5);
    const y = new tvm.Tensor(out, [5], "float32");
    expect(add.call(f32(1, 2, 3, 4, 5), y, 0.5)).toBe(5);
    expect([...out]).toEqual([1.5, 2.5, 3.5, 4.5, 5.5]);
    const shared = new Float32Array(new SharedArrayBuffer(20));
    expect(add.call(y, new tvm.Tensor(shared, [5], "float32"), 1)).toBe(5);
    expect(shared[4]).toBe(6.5);
    expect(
      add.call(new tvm.Tensor(new Float32Array(), [0], "float32"), new tvm.Tensor(new Float32Array(), [0], "float32"), 1),
    ).toBe(0);
    const wrong: [tvm.Argument[], string, string][] = [
      [[y], "TypeError", "add_scalar takes 3 arguments, got 1"],
      [[null, y, 1], "TypeError", "add_scalar: x and y have to be tensors"],
      [[new tvm.Tensor(new Int32Array(5), [5], "int32"), y, 1], "TypeError", "add_scalar: x has to be float32"],
      [[f32(1, 2), y, 1], "ValueError", "add_scalar: shapes differ"],
    ];
    for (const [args, name, message] of wrong) expect(raised(() => add.call(...args))).toMatchObject({ name, message });
    expect(() => new tvm.Tensor(new Float32Array(3), [2, 2], "float32")).toThrow(/DSC5703.*16 bytes.*12/s);
    expect(raised(() => tvm.loadModule(path.join(work, "nothing.so"))).message).toContain("nothing.so");
  });

  test.skipIf(lacks("g++"))(
    "a library made with tvm-ffi's own macro: strings, lists, nulls, functions, errors with a backtrace",
    () => {
      const module = tvm.loadModule(compiled(work, "g++", "macro.cpp", ...ffiFlags()));
      expect(module.get("join").call(tvm.array(["a", "longer than seven", "c"]), ", ")).toBe("a, longer than seven, c");
      expect(["positive", "negative"].map((name) => module.has(name))).toEqual([true, false]);
      expect(() => module.get("negative")).toThrow(/DSC5705/);
      const positive = module.get("positive");
      expect(positive.call(3)).toBe(3);
      expect(raised(() => positive.call(-3))).toMatchObject({ name: "ValueError", message: "n is -3, and has to be positive" });
      expect(raised(() => positive.call("three"))).toMatchObject({ name: "TypeError" });
      expect([module.get("maybe").call(true), module.get("maybe").call(false)]).toEqual(["there", null]);
      // A tensor of theirs is seen where it lies, and goes back in; one of ours goes into the same function.
      const made = module.get("counted").call(3) as tvm.TvmTensor;
      expect(made).toMatchObject({ shape: [2, 3], dtype: "float32", device: { type: "cpu", id: 0 }, contiguous: true });
      const seen = made.view() as Float32Array;
      expect([...seen]).toEqual([0, 1, 2, 3, 4, 5]);
      seen[5] = 10;
      expect(module.get("total").call(made)).toBe(20);
      expect(module.get("total").call(f32(1.5, 2))).toBe(3.5);
      made.dispose();
      expect(() => made.view()).toThrow(/DSC5704/);
      const apply = module.get("apply");
      expect(
        apply.call(
          tvm.callback((n) => (n as number) * 2),
          21,
        ),
      ).toBe(42);
      // An error of Node goes through C++ and comes back as it was.
      const broken = tvm.callback(() => {
        throw new TypeError("from Node");
      });
      expect(raised(() => apply.call(broken, 1))).toMatchObject({ name: "TypeError", message: "from Node" });
    },
  );
});

test("without a library, what was tried and how to name one", () => {
  const script = `import("${path.resolve(import.meta.dirname, "../../dist/runtime/tvm/index.js")}").then((t) => t.about()).catch((e) => console.log(e.message))`;
  const { stdout } = spawnSync(process.execPath, ["-e", script], {
    encoding: "utf8",
    env: { ...process.env, DSC_TVM: "/nowhere/libtvm_ffi.so" },
  });
  expect(stdout).toMatch(/error\[DSC5701\].*\/nowhere\/libtvm_ffi\.so.*DSC_PYTHON/s);
});
