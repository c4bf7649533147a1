// Texts that a part may be missing from.

/** A part of a text, where a condition holds. */
export const when = (holds: unknown, part: string): string => (holds ? part : "");
