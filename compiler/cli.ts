#!/usr/bin/env node
// The command `dsc`: loads the command line (main.ts) and runs it. Alone, so that what fails while its modules load, such as a limit
// on open files, is said in words too.
try {
  await import("./main.ts");
} catch (e) {
  const { code, syscall, message } = e as NodeJS.ErrnoException;
  if (code === undefined || syscall === undefined) throw e;
  const help =
    code === "EMFILE" ? "raise the limit of open files: ulimit -n 1024" : "see to the limits and permissions of this process";
  process.stderr.write(`error[DSC6019]: the system refuses: ${message}\n --> the modules of dsc\n   help: ${help}\n`);
  process.exitCode = 1;
}
