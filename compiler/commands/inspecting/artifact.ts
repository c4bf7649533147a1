// What the modes of `dsc inspect` share: the artifact that was read, and how an answer is printed.
import type { Manifest } from "../../../ir/artifact.ts";
import type { DeviceFlags } from "../device.ts";

export interface Options extends DeviceFlags {
  out: string;
  name?: string;
  ir: boolean;
  after?: string;
  origin: boolean;
  cost: boolean;
  asm: boolean;
  ptx: boolean;
  sass: boolean;
  resources: boolean;
  line?: number;
  op?: string;
  key?: string;
  tensor?: string;
  json: boolean;
}

/** An artifact whose texts are read. */
export interface Read {
  manifest: Manifest;
  files: ReadonlyMap<string, Buffer>;
  /** A file of it as text; empty where there is none. */
  text(name: string): string;
  /** Prints data as one line of JSON under --json, else the lines. */
  say(value: object, lines: () => string): void;
}
