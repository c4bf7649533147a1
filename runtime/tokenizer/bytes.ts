// Byte-level vocabularies write each byte as one printable character: ASCII and Latin-1 letters stand for themselves, the other
// 68 bytes for the characters from U+0100 on. So a space is "Ġ" and a line feed "Ċ" (the alphabet of GPT-2).

const printable = (b: number): boolean => (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || (b >= 0xae && b <= 0xff);

/** The character of each byte. */
export const BYTE_CHARS: readonly string[] = (() => {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(printable(b) ? b : next++));
})();

const BYTES = new Map(BYTE_CHARS.map((c, b) => [c, b]));

const encoder = new TextEncoder();

/** The UTF-8 bytes of a text, a character each. */
export function toByteText(text: string): string {
  if (/^[!-~]*$/.test(text)) return text;
  let out = "";
  for (const b of encoder.encode(text)) out += BYTE_CHARS[b];
  return out;
}

/** The bytes that a token stands for; undefined where a character stands for none. */
export function fromByteText(token: string): Uint8Array | undefined {
  const out = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const b = BYTES.get(token[i]);
    if (b === undefined) return undefined;
    out[i] = b;
  }
  return out;
}

/** The bytes of a text as UTF-8. */
export const utf8 = (text: string): Uint8Array => encoder.encode(text);

/** A decoder that keeps U+FEFF, a character of the text here, and makes U+FFFD of bytes that are no UTF-8. */
export const lossyDecoder = (): TextDecoder => new TextDecoder("utf-8", { ignoreBOM: true });
