// dsc verify: which passes it proves, and how it says what is broken.
import { expect, test } from "vitest";
import { table } from "../../compiler/commands/verify.ts";
import type { Proof } from "../../compiler/analysis/verify.ts";
import { dsc } from "./dsc.ts";

const printed = ["verify", "examples/printed-model", "--layers", "2"];

test("--passes proves those alone, and refuses names that are none", async () => {
  const { code, stdout } = await dsc(...printed, "--passes", "tidy,last-rows", "--json");
  expect(code).toBe(0);
  const { ok, proofs } = JSON.parse(stdout) as { ok: boolean; proofs: { pass: string }[] };
  expect(ok).toBe(true);
  expect([...new Set(proofs.map((p) => p.pass))]).toEqual(["tidy", "last-rows"]);
  expect((await dsc(...printed, "--passes", "nothing")).code).toBe(2);
  expect((await dsc(...printed, "--passes", "none")).stderr).toContain("there is nothing to prove");
});

test("a broken pass stands in columns of its own", () => {
  const proof = (pass: string, entry: string, holds: boolean): Proof => ({
    pass,
    entry,
    attention: "expanded",
    holds,
    difference: holds ? 0 : 4.8,
  });
  const lines = table(
    "X",
    { hidden: 8 },
    ["tidy", "doubles"].flatMap((p) => ["prefill", "extend"].map((e) => proof(p, e, p === "tidy"))),
  ).split("\n");
  expect(lines).toContainEqual(expect.stringMatching(/^doubles +BROKEN 4\.8e\+0 +BROKEN 4\.8e\+0$/));
  const width = lines.find((l) => l.startsWith("pass "))!.length;
  expect(new Set(lines.filter((l) => /^(pass|tidy|doubles) /.test(l)).map((l) => l.length))).toEqual(new Set([width]));
});
