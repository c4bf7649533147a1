// Entry of a process that compiles functions of TIR by TVM: its libraries, their handlers of signals and their faults stay in it. Reads one
// request from stdin, writes an object file; ends with status 1 and a line on stderr where it cannot.
import { readFileSync } from "node:fs";
import { call, map } from "../../runtime/tvm/index.ts";
import { openGlobally, useLibrary } from "../../runtime/tvm/library.ts";
import { moduleOf } from "./nodes.ts";
import { decode } from "./wire.ts";

function compile(): void {
  const { ffi, libraries, target: words, functions, object } = decode(readFileSync(0, "utf8"));
  useLibrary(...ffi);
  for (const file of libraries) openGlobally(file);
  const target = call("target.Target", map(Object.entries(words)));
  // Functions are as TVM's passes would leave them; that they are for the target is all that is left to say.
  const bound = call("transform.RunPass", call("tirx.transform.BindTarget", target), moduleOf(functions));
  call("ffi.ModuleWriteToFile", call("target.build.llvm", bound, target), object, "o");
}

try {
  compile();
} catch (e) {
  const { name, message } = e as Error;
  process.stderr.write(`${name}: ${message}\n`);
  process.exitCode = 1;
}
