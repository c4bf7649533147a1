// Runs a native kernel without a GPU: g++ compiles its own text behind the machine of fibres (compiler/edit/host) and the host meanings of the
// device functions it calls (codegen/cuda/ptx). What differs from the card is listed there.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fibres, hostFlags } from "../../compiler/edit/host/fibres.ts";
import { bodyOf, mainOf, wordsOf } from "../../compiler/edit/host/program.ts";
import { boundBuffers, type KernelText } from "../../ir/kernel/catalogue.ts";
import { hostBuild } from "./host-compiler.ts";

/** _Float16 came to g++ with version 12. */
export const hasGpp =
  process.arch === "x64" && Number.parseInt(spawnSync("g++", ["-dumpversion"], { encoding: "utf8" }).stdout ?? "0", 10) >= 12;

export interface Native {
  /** Launches the kernel, twice unless said, and gives what is in y then, or in the last buffer where none is called so. */
  run(
    buffers: Readonly<Record<string, Uint8Array>>,
    dims: Readonly<Record<string, number>>,
    at: { SMs: number; launches?: number },
  ): Uint8Array<ArrayBuffer>;
  /** What the last run left in another buffer. */
  left(buffer: string): Uint8Array<ArrayBuffer>;
  close(): void;
}

/** Compiles a kernel's text for this machine. */
export function nativeOnHost(text: KernelText): Native {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "dsc-native-"));
  const file = (name: string): string => path.join(folder, name);
  const program = hostBuild({ text: `${bodyOf(text.source)}${mainOf(text)}`, header: fibres, flags: hostFlags });
  return {
    run(buffers, dims, { SMs, launches = 2 }) {
      const names = boundBuffers(text.params);
      for (const n of names) fs.writeFileSync(file(`${n}.bin`), buffers[n]);
      const words = wordsOf(text, { launches, dims, SMs }, (n) => file(`${n}.bin`));
      const { status, stderr } = spawnSync(program, words, { encoding: "utf8" });
      if (status !== 0) throw new Error(`${text.name} on this machine: ${stderr || `status ${status}`}`);
      return this.left(names.includes("y") ? "y" : names.at(-1)!);
    },
    left: (buffer) => new Uint8Array(fs.readFileSync(file(`${buffer}.bin`))),
    close: () => fs.rmSync(folder, { recursive: true }),
  };
}
