// Edits in an artifact: the kernel's record names the files of the edit, and what was compiled is kept beside it, so that
// taking the edit out gives the artifact back byte for byte. Files change place as those of a compile do: all or none.
import type { Edit, Manifest } from "../../ir/artifact.ts";
import { sha256 } from "../../runtime/manifest-text.ts";
import { readArtifact } from "../../runtime/index.ts";
import { writeArtifact } from "../artifact/write.ts";
import type { Program } from "./machine.ts";
import type { Opened } from "./sites.ts";

/** An artifact with all its files. */
export async function openArtifact(folder: string): Promise<Opened> {
  const { manifest, files } = await readArtifact(folder, () => true);
  return { folder, manifest, files };
}

/** A kernel as it was compiled, whatever was made of it. */
export function originalOf({ manifest, files }: Pick<Opened, "manifest" | "files">, name: string): Program {
  const record = manifest.edits?.[name]?.original ?? manifest.kernels[name];
  return programIn(name, record, files);
}

/** The edit of a kernel, where there is one. */
export const editOf = ({ manifest, files }: Pick<Opened, "manifest" | "files">, name: string): Program | undefined =>
  manifest.edits?.[name] && programIn(name, manifest.kernels[name], files);

function programIn(name: string, record: Program["record"], files: Opened["files"]): Program {
  const binary = record.binary === undefined ? undefined : files.get(record.binary);
  return { name, record, text: Buffer.from(files.get(record.text)!).toString("utf8"), ...(binary ? { binary } : {}) };
}

type Parts = { manifest: Manifest; files: Map<string, string | Uint8Array> };

/** An artifact in which a program runs in place of the kernel of its name. */
export function withEdit(parts: Parts, program: Program, how: Omit<Edit, "original">): Parts {
  const { name } = program;
  const plain = withoutEdit(parts, name);
  const original = plain.manifest.kernels[name];
  const files = new Map(plain.files).set(program.record.text, program.text);
  if (program.binary && program.record.binary !== undefined) files.set(program.record.binary, program.binary);
  const manifest = {
    ...plain.manifest,
    kernels: { ...plain.manifest.kernels, [name]: program.record },
    edits: { ...plain.manifest.edits, [name]: { original, ...how } },
  };
  return { manifest: { ...ordered(manifest), files: digests(files) }, files };
}

/** The same without the edit of a kernel. */
export function withoutEdit({ manifest, files }: Parts, name: string): Parts {
  const edit = manifest.edits?.[name];
  if (!edit) return { manifest, files };
  const { [name]: _, ...others } = manifest.edits!;
  const left = new Map([...files].filter(([path]) => !path.startsWith(`edits/${name}.`)));
  const { edits: __, ...rest } = manifest;
  const kernels = { ...manifest.kernels, [name]: edit.original };
  const plain = { ...rest, kernels, ...(Object.keys(others).length ? { edits: others } : {}), files: digests(left) };
  return { manifest: ordered(plain), files: left };
}

/** Members in one order, so that the same artifact has the same bytes. */
function ordered({ edits, entries, load, files, ...rest }: Manifest): Manifest {
  return { ...rest, ...(edits ? { edits } : {}), entries, load, files };
}

const digests = (files: Parts["files"]): Manifest["files"] =>
  Object.fromEntries([...files].map(([path, data]) => [path, sha256(data)]));

/** Puts an artifact with other edits in its place. */
export const replace = (folder: string, parts: Parts): void => writeArtifact(parts, folder);

export const partsOf = ({ manifest, files }: Opened): Parts => ({ manifest, files: new Map(files) });
