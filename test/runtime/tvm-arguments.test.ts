// What dsc/tvm is handed is looked at before a library is: JavaScript hands over anything.
import { expect, test } from "vitest";
import { aligned, array, device, dtype, float, map, pointer } from "../../runtime/tvm/index.ts";

const any = (v: unknown): never => v as never;

test.each<[string, () => unknown, RegExp]>([
  ["dtype of nothing", () => dtype(any(undefined)), /dtype: name is not given/],
  ["dtype of another name", () => dtype(any("float33")), /dtype: name is "float33"[^]*float32/],
  ["device of another name", () => device(any("gpu9")), /device: type is "gpu9"[^]*cpu, cuda/],
  ["device before the first", () => device("cpu", -1), /device: id is -1/],
  ["pointer of a text", () => pointer(any("x")), /pointer: address is "x"/],
  ["float of a text", () => float(any("x")), /float: value is "x"/],
  ["array of a number", () => array(any(5)), /array: items is 5/],
  ["map of a number", () => map(any(5)), /map: entries is 5/],
  ["map of what are no pairs", () => map(any([1])), /map: entries is an array of 1/],
  ["memory of less than nothing", () => aligned(-1), /aligned: bytes is -1/],
  ["memory of a text", () => aligned(any("/etc")), /aligned: bytes is "\/etc"/],
])("%s is refused", (_, call, why) => {
  expect(call).toThrow(why);
  expect(call).toThrow("DSC5039");
});
