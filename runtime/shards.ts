// Which files a checkpoint consists of: one file, the shards an index names, or shards that lie there without an index. What the
// headers say counts; an index only tells which files belong together, so names in it that no shard has are no fault until read.
import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import * as diagnostics from "./diagnostics.ts";
import { readRegular } from "./files.ts";
import { HEAD_BYTES, kindOf, withoutCheckpoint } from "./file-kind.ts";
import { duplicateKey } from "./json-keys.ts";

export interface Shards {
  /** Files to open, in order. */
  files: string[];
  /** The index that named them. */
  index?: string;
  /** Names of shards that belong to the checkpoint and are not there. */
  absent: string[];
  /** Tensors that the index places in a shard that is not there. */
  placed: ReadonlyMap<string, string>;
}

const INDEX = "model.safetensors.index.json";
/** R1's has 91,000 tensors and 9 MB. */
const MOST_INDEX = 1 << 30;
const SINGLE = "model.safetensors";
const none: ReadonlyMap<string, string> = new Map();

/** The shards of a folder with a checkpoint, an index, or one file of any name. Throws DSC5010, DSC5012 and DSC5014. */
export async function shardsOf(where: string): Promise<Shards> {
  const kind = await stat(where).catch((e: Error) => {
    throw diagnostics.noCheckpoint({ where, why: e.message });
  });
  if (!kind.isDirectory()) return where.endsWith(".index.json") ? readIndex(where) : { files: [where], absent: [], placed: none };
  const names = (await readdir(where)).toSorted();
  const indices = names.filter((n) => n.endsWith(".safetensors.index.json"));
  const index = indices.includes(INDEX) ? INDEX : indices.length === 1 ? indices[0] : undefined;
  // As transformers looks: one whole file before an index, which may be a leftover of the shards it was made of.
  if (names.includes(SINGLE) && (await isFile(join(where, SINGLE)))) {
    const named = index === undefined ? undefined : await readIndex(join(where, index)).catch(() => undefined);
    return named?.files.some((f) => basename(f) === SINGLE) ? named : { files: [join(where, SINGLE)], absent: [], placed: none };
  }
  if (index === undefined) return unindexed(where, names);
  const named = await readIndex(join(where, index));
  // An index none of whose shards is there describes another copy.
  const others = named.files.length === 0 ? loose(names) : [];
  return others.length ? unindexed(where, names) : named;
}

/** .safetensors files of a folder that hold a model's weights. */
const loose = (names: readonly string[]): string[] =>
  names.filter((n) => n.endsWith(".safetensors") && !n.startsWith("adapter_"));

function unindexed(where: string, names: readonly string[]): Shards {
  const files = loose(names);
  if (files.length === 0) {
    const { what, help } = withoutCheckpoint(names);
    throw diagnostics.noCheckpoint({ where, why: what, help: help || undefined });
  }
  return { files: files.map((f) => join(where, f)), absent: missingNumbers(files), placed: none };
}

/** Of shards named PREFIX-00001-of-00003.safetensors, those whose numbers are not there. */
function missingNumbers(files: readonly string[]): string[] {
  const sets = new Map<string, Set<number>>();
  for (const f of files) {
    const m = /^(.*-)(\d+)(-of-\d+\.safetensors)$/.exec(f);
    if (m)
      sets.set(`${m[1]}\n${m[2].length}\n${m[3]}`, (sets.get(`${m[1]}\n${m[2].length}\n${m[3]}`) ?? new Set()).add(Number(m[2])));
  }
  const absent: string[] = [];
  for (const [key, have] of sets) {
    const [before, width, after] = key.split("\n");
    const count = Number(/\d+/.exec(after)![0]);
    // More than a thousand names would say no more than a thousand.
    for (let i = 1; i <= Math.min(count, 1000); i++)
      if (!have.has(i)) absent.push(`${before}${String(i).padStart(Number(width), "0")}${after}`);
  }
  return absent;
}

async function readIndex(index: string): Promise<Shards> {
  const raw = await readRegular(index, MOST_INDEX).catch((e: Error) => {
    throw diagnostics.brokenIndex({ file: index, why: e.message });
  });
  const kind = kindOf(raw.subarray(0, HEAD_BYTES));
  if (kind) throw diagnostics.foreignFile({ file: index, ...kind });
  const text = raw.toString("utf8");
  let whole: unknown;
  try {
    whole = JSON.parse(text);
  } catch (e) {
    throw diagnostics.brokenIndex({ file: index, why: (e as Error).message });
  }
  const map = (whole as { weight_map?: unknown } | null)?.weight_map;
  if (typeof map !== "object" || map === null || Array.isArray(map))
    throw diagnostics.brokenIndex({ file: index, why: "it has no weight_map" });
  const twice = duplicateKey(text, whole);
  if (twice !== undefined) throw diagnostics.brokenIndex({ file: index, why: `it has ${JSON.stringify(twice)} twice` });
  const entries = Object.entries(map as Record<string, unknown>);
  for (const [name, file] of entries)
    if (typeof file !== "string" || file === "" || basename(file) !== file || file === "." || file === "..")
      throw diagnostics.brokenIndex({
        file: index,
        why: `the shard of ${name} is ${JSON.stringify(file)}, not a file name in the same folder`,
      });
  const names = [...new Set(entries.map(([, f]) => f as string))].toSorted();
  if (names.length === 0) throw diagnostics.brokenIndex({ file: index, why: "it names no shard" });
  const there = await Promise.all(
    names.map((n) =>
      stat(join(dirname(index), n)).then(
        () => true,
        () => false,
      ),
    ),
  );
  const absent = names.filter((_, i) => !there[i]);
  return {
    files: names.filter((_, i) => there[i]).map((n) => join(dirname(index), n)),
    index,
    absent,
    placed: new Map((entries as [string, string][]).filter(([, f]) => absent.includes(f))),
  };
}

const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    (s) => s.isFile(),
    () => false,
  );
