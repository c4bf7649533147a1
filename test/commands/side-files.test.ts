// Side files of an artifact whose digests hold and whose contents do not: each is named with the place, before anything is printed of it.
import { describe, expect, test } from "vitest";
import { originsOf } from "../../compiler/artifact/side-files.ts";
import { ORIGINS, type LaunchOrigin } from "../../compiler/analysis/origins.ts";

const origins = (launch: Partial<LaunchOrigin>): ReadonlyMap<string, Uint8Array> => {
  const launches = [{ kernel: "k", site: "decode y", op: "linear", fields: 0, ...launch }];
  const text = JSON.stringify({ schema: ORIGINS, nodes: [], launches, fields: [{}], kernels: {}, functions: {}, config: {} });
  return new Map([["origins.json", new TextEncoder().encode(text)]]);
};

describe("origins.json", () => {
  test("is read where every place it names is there", () => expect(originsOf(origins({})).launches.length).toBe(1));
  test.each([
    [{ node: 0 }, "launches[0].node is 0; expected a place among 0 nodes"],
    [{ fields: 1 }, "launches[0].fields is 1; expected a place among 1 records of fields"],
  ])("with a launch of %o is refused", (launch, why) => expect(() => originsOf(origins(launch))).toThrow(why));
});
