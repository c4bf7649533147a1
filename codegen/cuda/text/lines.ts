// Emitted text from parts, each without a newline at its end.

/** One part under another. A part that a variant does not have is false or absent: `pair && "cluster_sync();"`. */
export const lines = (...parts: readonly (string | false | null | undefined)[]): string =>
  parts.filter((p) => typeof p === "string").join("\n");

/** A part further in by so many levels of two spaces; lines of the preprocessor and empty ones stay. */
export const indented = (part: string, levels = 1): string => part.replace(/^(?=[^\n#])/gm, "  ".repeat(levels));
