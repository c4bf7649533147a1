// What a file is that is not what it should be, by its first bytes: the usual mistakes with checkpoints, each in words.

/** Bytes that are enough to tell. */
export const HEAD_BYTES = 64;

/** Words for a file that begins so, and what to do about it; undefined for anything else. */
export interface FileKind {
  what: string;
  help: string;
}

const starts: readonly (readonly [string, FileKind])[] = [
  [
    "version https://git-lfs",
    { what: "a Git LFS pointer, a few lines of text in place of the file", help: "git lfs pull in that folder fetches the file" },
  ],
  ["GGUF", { what: "a GGUF file", help: "use the original checkpoint: config.json and .safetensors files" }],
  [
    "PK\x03\x04",
    {
      what: "a ZIP archive, as PyTorch's .bin and .pt files are",
      help: "convert it to .safetensors, or use a copy of the model that has them",
    },
  ],
  [
    "\x80\x02",
    {
      what: "a Python pickle, as old PyTorch files are",
      help: "convert it to .safetensors, or use a copy of the model that has them",
    },
  ],
  ["\x1f\x8b", { what: "compressed by gzip", help: "unpack it" }],
  ["<", { what: "HTML or XML, as a download of a web page in place of the file is", help: "fetch the file itself" }],
  ["Entry not found", { what: "the answer of a server that has no such file", help: "fetch it again, by its right name" }],
  [
    "Invalid username or password",
    { what: "the answer of a server that wants you to log in", help: "log in, then fetch it again" },
  ],
  ["Access to ", { what: "the answer of a server that refuses access", help: "ask for access there, then fetch it again" }],
];

/** Looks at the first bytes of a file. */
export function kindOf(head: Uint8Array): FileKind | undefined {
  const text = Buffer.from(head.subarray(0, HEAD_BYTES)).toString("latin1");
  // A byte-order mark and blanks may come before text.
  return starts.find(([s]) => text.startsWith(s) || text.replace(/^(?:\xef\xbb\xbf)?\s+/, "").startsWith(s))?.[1];
}

/** Why a folder has no checkpoint that is read, by the names of its files. */
export function withoutCheckpoint(names: readonly string[]): FileKind {
  const some = (re: RegExp): string | undefined => names.find((n) => re.test(n));
  const adapter = some(/^adapter_(config\.json|model\..*)$/);
  if (adapter)
    return {
      what: `it has ${adapter}: a LoRA adapter, which holds changes to the weights of another model`,
      help: "merge it into its base model, and give the folder of the merged checkpoint",
    };
  const gguf = some(/\.gguf$/i);
  if (gguf)
    return {
      what: `it has ${gguf}; GGUF files are not read`,
      help: "use the original checkpoint: config.json and .safetensors files",
    };
  const torch = some(/\.(bin|pth?|ckpt|pkl)$|^pytorch_model.*\.index\.json$/i);
  if (torch)
    return {
      what: `it has ${torch}; PyTorch's own files are not read, for they can run code`,
      help: "convert them to .safetensors, or use a copy of the model that has them",
    };
  const other = some(/\.(h5|msgpack|onnx|npz|mlmodel|ggml)$/i);
  if (other) return { what: `it has ${other}, which is not read`, help: "use a copy of the model that has .safetensors files" };
  return { what: "it has neither model.safetensors nor model.safetensors.index.json, nor any other .safetensors file", help: "" };
}
