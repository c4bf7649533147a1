// How a warp of the register form reads the tokens of a batch.

/** One element at a time: x starts anywhere, and what lies outside the row of w meets zeros. */
const eachElement = (
  from: string,
  to: string,
  zero: string,
  column: string,
): string => `        const ${from}* from = x + (i64)token * X_STRIDE + ${column};
        ${to} v[8];
#pragma unroll
        for (int e = 0; e < 8; e++) {
          const int column = ${column} + e;
          v[e] = token < m && column >= 0 && column < K ? from[e] : ${zero};
        }`;

/** Tokens by the dtype of x: 16 bytes of bf16, or 32 of f32, at once, or element by element. */
const tokensOf = {
  f32: {
    declare: "float tokens",
    words: {
      extent: "[8]",
      load: (inside: string): string => `        const float4* from = (const float4*)(x + (i64)token * X_STRIDE + word * 8);
        const float4 zero = make_float4(0.f, 0.f, 0.f, 0.f), a = ${inside} ? from[0] : zero, b = ${inside} ? from[1] : zero;
        float* v = tokens[u][t];
        v[0] = a.x; v[1] = a.y; v[2] = a.z; v[3] = a.w; v[4] = b.x; v[5] = b.y; v[6] = b.z; v[7] = b.w;`,
    },
    elements: (column: string): string => `${eachElement("float", "float", "0.f", column)}
#pragma unroll
        for (int e = 0; e < 8; e++) tokens[u][t][e] = v[e];`,
  },
  bf16: {
    declare: "uint4 tokens",
    words: {
      extent: "",
      load: (inside: string): string =>
        `        tokens[u][t] = ${inside} ? *(const uint4*)(x + (i64)token * X_STRIDE + word * 8) : make_uint4(0, 0, 0, 0);`,
    },
    elements: (column: string): string => `${eachElement("u16", "u32", "0", column)}
        tokens[u][t] = make_uint4(v[0] | v[1] << 16, v[2] | v[3] << 16, v[4] | v[5] << 16, v[6] | v[7] << 16);`,
  },
} as const;

/**
 * Loads of the tokens of a batch, from L1 or L2: all in flight together. Rows past m are zeros. `at`: in words,
 * those inside; or element by element, from the column where a word starts.
 */
export function loadTokens(x: "bf16" | "f32", tiles: number, at: { inside: string } | { column: string }): string {
  const { declare, words, elements } = tokensOf[x];
  return `    ${declare}[DEPTH][${tiles}]${words.extent};
#pragma unroll
    for (int u = 0; u < DEPTH; u++)
#pragma unroll
      for (int t = 0; t < ${tiles}; t++) {
        const int token = group + t * 8, word = word_of(batch, u);
${"inside" in at ? words.load(at.inside) : elements(at.column)}
      }`;
}
