// What a tokenizer puts around the ids of a text: a post-processor of tokenizer.json, or add_bos_token and add_eos_token.
import type { Part } from "../side-file.ts";

/** Ids before and after a text's own. */
export interface Around {
  before: number[];
  after: number[];
}

const KINDS = ["Sequence", "TemplateProcessing", "ByteLevel", "BertProcessing", "RobertaProcessing"] as const;

/** What a post-processor adds; undefined where it adds nothing of its own, as ByteLevel does. */
export function aroundOf(part: Part): Around | undefined {
  if (!part.given) return undefined;
  switch (part.kind(KINDS)) {
    case "ByteLevel":
      return undefined;
    case "Sequence":
      return part
        .get("processors")
        .list()
        .map(aroundOf)
        .reduce(
          (outer, inner) =>
            outer && inner
              ? { before: [...inner.before, ...outer.before], after: [...outer.after, ...inner.after] }
              : (outer ?? inner),
          undefined,
        );
    case "TemplateProcessing":
      return templateOf(part);
    default: {
      const idOf = (key: string): number => (part.get(key).list()[1] ?? part.get(key).fail("must be a token and its id")).whole();
      return { before: [idOf("cls")], after: [idOf("sep")] };
    }
  }
}

function templateOf(part: Part): Around {
  const around: Around = { before: [], after: [] };
  const known = part.get("special_tokens");
  let passed = false;
  for (const item of part.get("single").list()) {
    item.object();
    const special = item.get("SpecialToken");
    if (!special.given) {
      if (item.get("Sequence").get("id").text() !== "A" || passed) item.fail("must be a SpecialToken, or the one Sequence A");
      passed = true;
      continue;
    }
    const name = special.get("id").text();
    const ids = known.get(name);
    if (!ids.given) special.fail(`names ${JSON.stringify(name)}, which special_tokens does not have`);
    (passed ? around.after : around.before).push(
      ...ids
        .get("ids")
        .list()
        .map((id) => id.whole()),
    );
  }
  return around;
}
