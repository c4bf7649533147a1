// What the table of device functions is made of. An entry says one thing three times, in one place: in words, as CUDA text with
// its PTX, and as C++ for the machine of fibres that runs kernels without a GPU (compiler/edit/host/fibres.ts).

export interface Entry {
  /** The identifier that kernels use. */
  name: string;
  /** What it does, and what it needs: the comment above it in a kernel's text. May be empty where the name says all. */
  doc: string;
  /** CUDA. */
  text: string;
  /** The same for the machine of fibres; empty where that has the name of its own. */
  host: string;
}

interface Meaning {
  /** The C++ signature, without qualifiers. */
  is: string;
  /** Statements of the CUDA function. */
  does: string;
  /**
   * Statements of the host function; absent where the CUDA function is plain C++ and runs there as it is, null where the machine
   * has it.
   */
  host?: string | null;
  doc?: string;
}

/** Comments of a text begin with two slashes a line. */
const comment = (doc: string): string => (doc === "" ? "" : `${doc.replaceAll(/^/gm, "// ")}\n`);

function braced(head: string, body: string): string {
  if (!body.includes("\n") && head.length + body.length < 124) return `${head} { ${body} }`;
  // Preprocessor lines stay at the margin.
  return `${head} {\n${body.replaceAll(/^(?=[^#\n])/gm, "  ")}\n}`;
}

/** `qualifiers` go before a signature, behind its template's parameters. */
const qualified = (is: string, qualifiers: string): string =>
  is.startsWith("template ") ? is.replace(/^(template <[^>]*> )/, `$1${qualifiers} `) : `${qualifiers} ${is}`;

/** A device function. */
export function device({ is, does, host, doc = "" }: Meaning): Entry {
  const name = /(\w+)\(/.exec(is)![1];
  return {
    name,
    doc,
    text: comment(doc) + braced(qualified(is, "__device__ __forceinline__"), does.trim()),
    host: host === null ? "" : braced(qualified(is, "static"), (host ?? does).trim()),
  };
}

/** A type or a macro; the machine of fibres takes the same text, or has its own. */
export const declaration = (name: string, text: string, { doc = "", machine = false } = {}): Entry => ({
  name,
  doc,
  text: comment(doc) + text,
  host: machine ? "" : text,
});

/** Functions of plain C++, several of one name where they are overloads: the machine of fibres runs the same text. */
export const plain = (name: string, text: string): Entry => ({ name, doc: "", text, host: text });
