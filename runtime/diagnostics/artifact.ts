// DSC500x: what can be wrong with an artifact.
import { place, thrown } from "../../ir/diagnostic.ts";

export const notAnArtifact = thrown<{ folder: string; why: string }>("DSC5001", {
  name: "no artifact",
  means: "An artifact is a folder with a manifest.json that dsc compile wrote.",
  example: "$ dsc inspect examples/tiny-r1",
  fix: "Compile first: dsc compile SRC -o OUT.",
  at: ({ folder }) => [place(folder)],
  short: ({ folder, why }) => ({
    title: `${folder} is not a compiled model`,
    notes: [why],
    help: "compile one: dsc compile CONFIG -o OUT; a model folder is compiled too, and is then its weights: load(OUT, { weights: FOLDER })",
  }),
});

export const foreignFormat = thrown<{ folder: string; seen: unknown; wanted: string }>("DSC5002", {
  name: "an artifact of another format",
  means: "manifest.json states its format; this runtime reads one, and guesses at no other.",
  example: "An artifact that an earlier or a later version of dsc compiled.",
  fix: "Compile the model again with this version.",
  at: ({ folder }) => [place(`${folder}/manifest.json`)],
  short: ({ folder, seen, wanted }) => ({
    title: "the artifact has a format this runtime does not read",
    notes: [`manifest.json of ${folder} says ${JSON.stringify(seen)}; this runtime reads "${wanted}"`],
    help: "compile the model again with this version",
  }),
});

export const brokenFile = thrown<{ path: string; why: string }>("DSC5003", {
  name: "a file of the artifact was changed",
  means:
    "The manifest gives the sha256 of every other file, and nothing is run that differs from it: a kernel that was changed in " +
    "its file is not what was compiled.",
  example: "An edited kernels/NAME.txt.",
  fix: "Compile again. To run a changed kernel: dsc kernel OUT NAME --edit, or --use FILE.",
  at: ({ path }) => [place(path)],
  short: ({ path, why }) => ({
    title: `${path} of the artifact is not what its manifest promises`,
    notes: [why],
    help: "compile the model again",
  }),
});

export const untestedEdit = thrown<{ kernel: string; where: string }>("DSC5006", {
  name: "an edited kernel was not tested on a GPU",
  means:
    "dsc kernel tests a CUDA text on the host where there is no GPU. That finds most mistakes, and is no proof: the edit runs when it " +
    "was tested on a card too, or was forced.",
  example: "An artifact whose kernel was edited on a laptop, loaded on a machine with a GPU.",
  fix: "dsc kernel OUT NAME --test on the machine that runs it.",
  at: ({ kernel }) => [place(`kernel ${kernel}`)],
  short: ({ kernel, where }) => ({
    title: `the edit of ${kernel} was tested on no GPU, and does not run before it is`,
    notes: [`it was tested on ${where}`],
    help: `dsc kernel OUT ${kernel} --test tests it here; --revert goes back to what was compiled`,
  }),
});

export const wrongTarget = thrown<{ target: string; device: string }>("DSC5004", {
  name: "an artifact for another target",
  means: "Kernels are for one target.",
  example: "An artifact of --target cuda, loaded for the CPU.",
  fix: "Compile it with the target that is named.",
  at: () => [place("manifest.json")],
  short: ({ target, device }) => ({
    title: `the artifact was compiled for ${target}, not for ${device}`,
    help: `compile it with --target ${device}`,
  }),
});

/** `at`: the path of the value in manifest.json. */
export const brokenManifest = thrown<{ why: string; at?: string | undefined }>("DSC5005", {
  name: "the program in the manifest does not hold together",
  means: "A step names a kernel, weight or slot that is not there, or a launch lacks an operand.",
  example: "A manifest edited by hand.",
  fix: "Compile again. If it stays, it is a fault of the compiler: please report it.",
  at: ({ at = "" }) => [place(at === "" ? "manifest.json" : `manifest.json: ${at}`)],
  short: ({ why }) => ({
    title: "the artifact's program does not hold together",
    notes: [why],
    help: "this is a fault of the compiler that wrote it; compile again, and report it if it stays",
  }),
});
