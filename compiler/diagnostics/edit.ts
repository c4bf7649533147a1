// What can be said of kernels that somebody edits (dsc kernel).
import { coded, place } from "../../ir/diagnostic.ts";

const kernelOf = ({ kernel }: { kernel: string }) => [place(`kernel ${kernel}`)];

export const editUnknown = coded<{ kernel: string; where: string }>("DSC6035", {
  name: "a kernel's place in the plan cannot be found again",
  means:
    "A kernel is tried where the plan launches it, and the plan of the artifact, made again from its last graph, does not. " +
    "What plug-ins or measurements of another machine decided, this machine does not know.",
  example: "An artifact that was compiled with --plugin or after dsc tune on another machine.",
  fix: "Compile the model here, and edit that artifact.",
  at: kernelOf,
  short: ({ kernel, where }) => ({
    title: `where ${kernel} of ${where} is launched cannot be found again, so there is nothing to hold it to`,
    help: "compile the model again on this machine, or give --force to use a text that is not tried",
  }),
});

export const editInLibrary = coded<{ kernel: string; target: string }>("DSC6055", {
  name: "kernels of this target are not edited",
  means:
    "The targets c and tvm make one library of all kernels of an artifact, and dsc kernel puts no text of its own into it: " +
    "it tests and times their kernels as they were compiled (--test, --bench). " +
    "Both are made from the tile programs of the CPU target, which it takes.",
  example: "dsc kernel OUT NAME --use FILE, of an artifact of --target c.",
  fix: "Compile with --target cpu, and edit the kernel there.",
  at: kernelOf,
  short: ({ kernel, target }) => ({
    title: `${kernel} is part of a library, and dsc kernel does not edit kernels of --target ${target}`,
    help: "dsc compile SRC --target cpu -o OUT, and edit the tile program of the kernel there",
  }),
});

export const editTakesOther = coded<{ kernel: string; was: string; is: string }>("DSC6036", {
  name: "an edited kernel takes something else",
  means:
    "The plan launches a kernel with its buffers, sizes and threads, and an edit changes none of them: name, parameters and launch " +
    "bounds stay.",
  example: "An edit that renames a buffer of the kernel, or asks for 256 threads a block instead of 128.",
  fix: "Keep the signature, and change the body. Another signature is another kernel: docs/howto.md.",
  at: kernelOf,
  short: ({ kernel, was, is }) => ({
    title: `the edited text of ${kernel} takes something else than the plan gives it`,
    notes: [`it was ${was}`, `it is  ${is}`],
    help: "keep its name, parameters, dims and launch bounds",
  }),
});

export const editWrong = coded<{
  kernel: string;
  op: string;
  case: string;
  site: string;
  error: string;
  notes: readonly string[];
  kept?: string | undefined;
}>("DSC6037", {
  name: "an edited kernel does not do what its op says",
  means:
    "Before an edit may run it is held to the reference of its kernel's op at random, odd and edge sizes. This one gave something " +
    "else: the first element that is off, what it should be and by how much it may be off are in the notes.",
  example: "dsc kernel OUT NAME --use FILE, with a loop that ends one block early.",
  fix: "Mend the text and try again. --force runs it as it is, and every command says so.",
  at: kernelOf,
  short: ({ kernel, op, site, case: at, error, notes, kept }) => ({
    title: `${kernel} does not do what ${op} says: ${error}`,
    notes: [`at ${site}: ${at}`, ...notes, ...(kept === undefined ? [] : [`your text is kept in ${kept}`])],
    help: "mend it and try again; --force runs it all the same, and every command says so",
  }),
});

export const editUntested = coded<{ kernel: string; why: string; needs: string }>("DSC6038", {
  name: "an edited kernel cannot be tested here",
  means: "An edit runs only when it was tested, and what tests it is not on this machine, or its operands do not fit it.",
  example: "A CUDA kernel on a machine with neither a GPU nor a C++ compiler.",
  fix: "Get what is named, or test it where there is a card. --force uses it untested, and every command says so.",
  at: kernelOf,
  short: ({ kernel, why, needs }) => ({
    title: `${kernel} cannot be tested here: ${why}`,
    help: `${needs}; --force uses it untested, and every command says so`,
  }),
});

export const editInUse = coded<{ where: string; proved: readonly string[]; others: readonly string[] }>("DSC6039", {
  name: "an artifact runs kernels that somebody edited (warning)",
  means:
    "dsc kernel put an edited text in the place of a kernel. One that was not proved on this target, or was forced, may " +
    "compute something else than the model; the notes say which it is and why.",
  example: "dsc kernel OUT NAME --use FILE --force, then dsc run OUT.",
  fix: "dsc kernel OUT NAME --test proves it, --revert goes back to what was compiled.",
  severity: "warning",
  at: ({ where }) => [place(where)],
  short: ({ where, proved, others }) => ({
    title: others.length
      ? `an edited kernel that is not proved is in use: ${others.length} of ${where}`
      : `edited kernels are in use, and proved: ${proved.length} of ${where}`,
    notes: [...others, ...proved],
    help: "dsc kernel OUT NAME --test tries it, --revert goes back to what was compiled",
  }),
});

export const editConflict = coded<{ kernel: string; why: string; beside: string }>("DSC6040", {
  name: "an edit does not fit what was compiled anew (warning)",
  means:
    "A compile into an artifact with edits carries them over: a text of which the compile changed other lines is merged with " +
    "it. Where both changed the same lines, or the merged text fails its test, the new kernel runs, and the edit lies in a " +
    "file beside it.",
  example: "An edit of a line of a kernel, and a compile with another --activations.",
  fix: "Mend the file that is named, and give it to dsc kernel OUT NAME --use FILE.",
  severity: "warning",
  at: kernelOf,
  short: ({ kernel, why, beside }) => ({
    title: `the edit of ${kernel} was not carried over: ${why}`,
    notes: ["the kernel runs as it was compiled now", `your text is in ${beside}`],
    help: "mend that file, and give it to dsc kernel OUT NAME --use FILE",
  }),
});

export const editCarried = coded<{ kernel: string; how: string }>("DSC6041", {
  name: "an edit was carried over (note)",
  means:
    "A compile into an artifact with edits keeps those of kernels whose text it did not change, and merges others and tests them again.",
  example: "dsc compile SRC -o OUT, after dsc kernel OUT NAME --use FILE.",
  fix: "dsc kernel OUT NAME --revert goes back to what was compiled.",
  severity: "note",
  at: kernelOf,
  short: ({ kernel, how }) => ({
    title: `the edit of ${kernel} is in the new artifact too: ${how}`,
    help: "dsc kernel OUT NAME --revert goes back to what was compiled",
  }),
});

export const noEditor = coded<{ problem: string }>("DSC6042", {
  name: "no editor",
  means: "dsc kernel --edit opens the text in the program that VISUAL or EDITOR names.",
  example: "dsc kernel OUT NAME --edit, with neither set.",
  fix: "Set one of them, or write the text anywhere and give it by --use FILE.",
  at: () => [place("VISUAL, EDITOR")],
  short: ({ problem }) => ({
    title: problem,
    help: "set VISUAL or EDITOR, or write the text anywhere and give it by --use FILE",
  }),
});
