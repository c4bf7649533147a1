// DSC510x: what can go wrong with NCCL.
import { place, thrown } from "../../ir/diagnostic.ts";

export const noNccl = thrown<{ tried: readonly string[] }>("DSC5100", {
  name: "no NCCL",
  means:
    "GPUs of several processes meet by NVIDIA's NCCL, which dsc finds and never brings: DSC_NCCL names the library or its folder, else " +
    "it is looked for on the loader's path and in the Python that DSC_PYTHON names.",
  example: "a machine without libnccl2 and without a Python that has torch",
  fix: "Install libnccl2, or the wheel nvidia-nccl-cu12 or -cu13, and name its Python in DSC_PYTHON. dsc doctor says what is found.",
  at: () => [place("libnccl.so.2")],
  short: ({ tried }) => ({
    title: "NCCL cannot be opened",
    notes: [...tried],
    help: "install libnccl2, or name the library in DSC_NCCL; dsc doctor says what is found",
  }),
});

export const ncclOld = thrown<{ path: string; have: string; need: string }>("DSC5101", {
  name: "an NCCL that is too old",
  means: "Communicators are made with options that NCCL has since 2.18.",
  example: "a machine with libnccl2 2.16",
  fix: "Install a newer one, or name one in DSC_NCCL.",
  at: ({ path }) => [place(path)],
  short: ({ have, need }) => ({
    title: `NCCL is ${have}; ${need} is the first that dsc can use`,
    help: "install a newer libnccl2, or name one in DSC_NCCL",
  }),
});

export const ncclFailed = thrown<{ call: string; why: string; where: string; version: string }>("DSC5102", {
  name: "a call of NCCL fails",
  means: "NCCL has refused a call, or one that was under way has failed: a peer that is gone, a network, a card.",
  example: "a host whose network interface NCCL cannot use",
  fix: "NCCL_DEBUG=WARN makes NCCL say more; NCCL_SOCKET_IFNAME and NCCL_NVLS_ENABLE=0 are the usual remedies.",
  at: ({ where }) => [place(where || "NCCL")],
  short: ({ call, why, version }) => ({
    title: `${call} fails: ${why.split("\n")[0]}`,
    notes: [`NCCL ${version}`, ...why.split("\n").slice(1)],
    help: "NCCL_DEBUG=WARN makes it say more; NCCL_SOCKET_IFNAME names the network interface to use",
  }),
});
