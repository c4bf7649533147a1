// A thread that ends, at work or idle, is a diagnostic of the call that needs it, and closing the model ends.
import type { Worker } from "node:worker_threads";
import { expect, test } from "vitest";
import { CpuDevice } from "../../runtime/devices/cpu.ts";
import { binaries, manifest, openToy } from "./toy.ts";

const workersOf = (device: CpuDevice): Worker[] => (device as unknown as { pool: { workers: Worker[] } }).pool.workers;

test.each([1, 2, 3])("of %i threads, one that ended while idle fails the next call and all after it", async (threads) => {
  const model = await openToy(manifest, "synthetic:1", { threads });
  const session = model.session({ maxTokens: 16 });
  await session.prefill([[1, 2]]);
  await workersOf(model.device).at(-1)!.terminate();
  await expect(session.decode([3])).rejects.toThrow(/DSC5041.*exit code/s);
  await expect(model.session().prefill([[1]])).rejects.toThrow(/DSC5041/);
  session.close();
  await model.close();
});

test("one that ends in the middle of a call fails that call", async () => {
  const model = await openToy(manifest, "synthetic:1", { threads: 2 });
  const session = model.session({ maxTokens: 16 });
  const call = session.prefill([[1, 2]]);
  const ended = workersOf(model.device)[0].terminate();
  await expect(call).rejects.toThrow(/DSC5041/);
  await ended;
  await model.close();
});

test("one that ends under a call while the model is being closed does not keep it from closing", async () => {
  const model = await openToy(manifest, "synthetic:1", { threads: 2 });
  const call = model.session({ maxTokens: 16 }).prefill([[1, 2]]);
  const closed = model.close();
  void workersOf(model.device)[0].terminate();
  await Promise.allSettled([call, closed]);
});

test("a device that nobody used is closed though its threads are gone", async () => {
  const device = await CpuDevice.open(manifest, binaries, { threads: 2 });
  await Promise.all(workersOf(device).map((w) => w.terminate()));
  await device.close();
});
