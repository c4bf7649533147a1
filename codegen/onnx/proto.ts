// Records of an ONNX file as they are handed to `onnx-proto`, and the numbers they hold. The package's schema is that of ONNX 1.10, but
// element types, operator sets and the version of the format are plain integers there, so those of later versions are written as well.

/** Element types, by ONNX's names; those below are all that is written. */
export const elem = Object.freeze({ FLOAT: 1, INT64: 7, BOOL: 9, FLOAT16: 10, BFLOAT16: 16, FLOAT8E4M3FN: 17 });
export type Elem = (typeof elem)[keyof typeof elem];

/** Kinds of attributes, and where the bytes of a tensor are. */
const kinds = Object.freeze({ FLOAT: 1, INT: 2, STRING: 3, TENSOR: 4, GRAPH: 5, FLOATS: 6, INTS: 7 });
const EXTERNAL = 1;

/** The version of the file format, and of the standard operators: the first with RMSNormalization, RotaryEmbedding and Attention. */
export const IR_VERSION = 11;
export const OPSET = 23;
/** The domain of our own functions, all of which have bodies. */
export const DOMAIN = "ai.dsc";

export interface TensorProto {
  name?: string;
  dataType: number;
  dims: readonly number[];
  int64Data?: readonly number[];
  floatData?: readonly number[];
  int32Data?: readonly number[];
  dataLocation?: number;
  externalData?: readonly { key: string; value: string }[];
}

export interface AttributeProto {
  name: string;
  type: number;
  i?: number;
  f?: number;
  s?: Uint8Array;
  t?: TensorProto;
  g?: GraphProto;
  ints?: readonly number[];
}

export interface NodeProto {
  name?: string;
  opType: string;
  domain?: string;
  input: readonly string[];
  output: readonly string[];
  attribute: readonly AttributeProto[];
}

export interface ValueInfoProto {
  name: string;
  type: { tensorType: { elemType: number; shape?: { dim: readonly ({ dimValue: number } | { dimParam: string } | {})[] } } };
}

export interface GraphProto {
  name: string;
  node: readonly NodeProto[];
  input: readonly ValueInfoProto[];
  output: readonly ValueInfoProto[];
  initializer?: readonly TensorProto[];
  docString?: string;
}

export interface FunctionProto {
  name: string;
  domain: string;
  input: readonly string[];
  output: readonly string[];
  node: readonly NodeProto[];
  opsetImport: readonly { domain: string; version: number }[];
  docString: string;
}

export interface ModelProto {
  irVersion: number;
  opsetImport: readonly { domain: string; version: number }[];
  producerName: string;
  producerVersion: string;
  graph: GraphProto;
  functions: readonly FunctionProto[];
}

/** An attribute's value: a whole number, several, a word, or what is marked as a real number, a tensor or a graph. */
export type AttrOf = number | readonly number[] | string | { f: number } | { t: TensorProto } | { g: GraphProto };

export function attributeOf(name: string, v: AttrOf): AttributeProto {
  if (typeof v === "number") return { name, type: kinds.INT, i: v };
  if (typeof v === "string") return { name, type: kinds.STRING, s: new TextEncoder().encode(v) };
  if ("f" in v) return { name, type: kinds.FLOAT, f: v.f };
  if ("t" in v) return { name, type: kinds.TENSOR, t: v.t };
  if ("g" in v) return { name, type: kinds.GRAPH, g: v.g };
  return { name, type: kinds.INTS, ints: v };
}

/** A graph's input or output: numbers are sizes, words are names of sizes; without a shape, any. */
export const valueInfo = (name: string, elemType: Elem, dims?: readonly (number | string)[]): ValueInfoProto => ({
  name,
  type: {
    tensorType: {
      elemType,
      ...(dims ? { shape: { dim: dims.map((d) => (typeof d === "number" ? { dimValue: d } : { dimParam: d })) } } : {}),
    },
  },
});

/** Bytes of a tensor that lie in another file, whose name is relative to the folder of the .onnx. */
export interface Place {
  location: string;
  offset: number;
  length: number;
}

export const externalTensor = (name: string, dataType: Elem, dims: readonly number[], at: Place): TensorProto => ({
  name,
  dataType,
  dims,
  dataLocation: EXTERNAL,
  externalData: Object.entries(at).map(([key, value]) => ({ key, value: String(value) })),
});

/** The bytes of an .onnx file. */
export async function encoded(model: ModelProto): Promise<Uint8Array> {
  // Loaded here, for only an export needs it.
  const { onnx } = (await import("onnx-proto")).default;
  return onnx.ModelProto.encode(onnx.ModelProto.fromObject(model)).finish();
}
