// What is used of `onnx-proto`, a package of code generated from ONNX's own schema. Its types are those of protobufjs; these are ours,
// and say what a record may hold.
declare module "onnx-proto" {
  interface Message<T> {
    fromObject(record: T): T;
    encode(message: T): { finish(): Uint8Array };
    decode(bytes: Uint8Array): T;
  }
  const module: { onnx: { ModelProto: Message<import("./proto.ts").ModelProto> } };
  export default module;
}
