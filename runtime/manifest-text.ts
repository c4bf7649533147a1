// manifest.json as text: the record, and as its last member the sha256 of the document without that member. Whoever edits the
// file, or cuts it short, breaks the digest; every other file of the artifact is held by a digest in the record.
import { createHash } from "node:crypto";
import type { Manifest } from "../ir/artifact.ts";

export const MANIFEST = "manifest.json";
export const FORMAT: Manifest["format"] = "dsc-artifact/5";

/** Where the files of an artifact lie: what stands at other places was not written by dsc. */
const OWN_PATH = /^(?:(?:edits|graph|kernels|reports)\/[^/\\\p{C}]+|(?:instead|ledger|origins|problems)\.json|model\.ts)$/u;

/** Whether an artifact may have a file of that path; manifest.json itself is not among them. */
export const isOwnPath = (path: string): boolean => OWN_PATH.test(path) && !path.includes("/..") && !/^\w+\/\.$/.test(path);

const LAST_MEMBER = /,\n "digest": "([0-9a-f]{64})"\n\}\n$/;

export const sha256 = (data: string | Uint8Array): string => createHash("sha256").update(data).digest("hex");

/** The text of manifest.json. */
export function manifestText(manifest: Manifest): string {
  const body = JSON.stringify(manifest, null, 1);
  return `${body.slice(0, -2)},\n "digest": "${sha256(body)}"\n}\n`;
}

/** What is wrong with the digest of a manifest's text; nothing when it is as it was written. */
export function editedManifest(text: string): string | undefined {
  const last = LAST_MEMBER.exec(text);
  if (!last) return "it does not end in its own digest, as dsc writes it";
  const seen = sha256(`${text.slice(0, last.index)}\n}`);
  return seen === last[1]
    ? undefined
    : `it was edited: its sha256 without the last member is ${seen}, and that member says ${last[1]}`;
}

/** Digests of an artifact's files by path, from a manifest's text; nothing unless dsc wrote the text and nobody changed it. */
export function filesOfManifest(text: string): ReadonlyMap<string, string> | undefined {
  if (editedManifest(text) !== undefined) return undefined;
  try {
    const { format, files } = JSON.parse(text) as Partial<Manifest>;
    if (format !== FORMAT || typeof files !== "object" || files === null) return undefined;
    return new Map(Object.entries(files).filter(([path, digest]) => isOwnPath(path) && typeof digest === "string"));
  } catch {
    return undefined;
  }
}
