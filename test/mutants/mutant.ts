// A deliberate bug: edits that put it in, and the tests that must fail then. `npm run mutants` tries every one.

export interface Edit {
  file: string;
  /** Stands there exactly once; a run of white space stands for any other. */
  find: string;
  replace: string;
}

/** A test file, and which of its tests. */
export type Killer = readonly [file: string, only?: string];

export interface Mutant {
  name: string;
  edits: readonly Edit[];
  killers: readonly Killer[];
  /** What goes wrong for whoever runs a model. */
  why: string;
  /** Why no test saw it once. */
  missed?: string;
  /** It never ends; the run is then ended, and that counts. */
  hangs?: true;
}

/** A bug of one edit. */
export const bug = (
  name: string,
  file: string,
  find: string,
  replace: string,
  killers: Killer | readonly Killer[],
  why: string,
  more: Pick<Mutant, "missed" | "hangs"> = {},
): Mutant => bugs(name, [[file, find, replace]], killers, why, more);

/** A bug of several. */
export const bugs = (
  name: string,
  edits: readonly (readonly [string, string, string])[],
  killers: Killer | readonly Killer[],
  why: string,
  more: Pick<Mutant, "missed" | "hangs"> = {},
): Mutant => ({
  name,
  why,
  ...more,
  edits: edits.map(([file, find, replace]) => ({ file, find, replace })),
  killers: typeof killers[0] === "string" ? [killers as Killer] : (killers as readonly Killer[]),
});

/** Where an edit goes: from, to. Throws where its text is not there, or not once. */
export function placeOf({ file, find }: Edit, text: string): [from: number, to: number] {
  const words = find
    .trim()
    .split(/\s+/)
    .map((w) => w.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  const found = [...text.matchAll(new RegExp(words.join("\\s+"), "g"))];
  if (found.length !== 1) throw new Error(`${file} holds ${JSON.stringify(find)} ${found.length} times`);
  return [found[0].index, found[0].index + found[0][0].length];
}

export function edited(edit: Edit, text: string): string {
  const [from, to] = placeOf(edit, text);
  return text.slice(0, from) + edit.replace + text.slice(to);
}
