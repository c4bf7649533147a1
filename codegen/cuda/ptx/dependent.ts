// Programmatic dependent launch (PTX griddepcontrol).
import { device, type Entry } from "./entry.ts";

export const dependent: readonly Entry[] = [
  device({
    doc: `Programmatic dependent launch: blocks of the next kernel start as these leave. What the kernel before wrote may be read,
and what it reads overwritten, only after await_previous; weights were there all along.`,
    is: "void release_next()",
    does: `asm volatile("griddepcontrol.launch_dependents;" ::: "memory");`,
    host: "",
  }),
  device({ is: "void await_previous()", does: `asm volatile("griddepcontrol.wait;" ::: "memory");`, host: null }),
];
