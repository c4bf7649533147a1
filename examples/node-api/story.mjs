// Tokens from Node. First `dsc compile examples/tiny-r1 -o .dsc/tiny-r1`, then
//   node examples/node-api/story.mjs .dsc/tiny-r1 examples/tiny-r1
import { chat, generate, load, loadTokenizer, stream } from "dsc";

const [artifact, folder] = process.argv.slice(2);
const model = await load(artifact, { weights: folder });
const tokenizer = await loadTokenizer(folder);
try {
  // A text, streamed. The extra prediction layer drafts two tokens a step; the same seed tells the same story again.
  const options = { maxNew: 40, temperature: 0.7, topP: 0.95, seed: 1, draft: 2, signal: AbortSignal.timeout(60_000) };
  process.stdout.write("It was a fine morning");
  for await (const text of stream(model, tokenizer, "It was a fine morning", options)) process.stdout.write(text);

  // Several prompts at once, of any lengths, as ids.
  const prompts = ["She was", "He took her hand, and"].map((text) => tokenizer.encode(text));
  const answers = prompts.map(() => []);
  for await (const step of generate(model, prompts, { maxNew: 12 })) step.ids.forEach((ids, b) => answers[b].push(...ids));
  for (const [b, ids] of answers.entries()) console.log(`\n${b}: ${tokenizer.decode([...prompts[b], ...ids])}`);

  // A conversation: each turn reads only what is new.
  const talk = await chat(model, tokenizer, { maxNew: 24 });
  for (const line of ["The letter was from Captain Wentworth.", "And what did it say?"]) {
    process.stdout.write(`\n> ${line}\n`);
    for await (const { text } of talk.say(line)) process.stdout.write(text);
  }
  console.log(`\n(the last turn read ${talk.last.prefilled} tokens and kept ${talk.last.kept})`);
  talk.close();

  // The call below all of these: rows in, logits out, a cache that remembers.
  const session = model.session();
  const { sequence, result } = await session.add(prompts[0]);
  console.log(`after "She was", most likely: "${tokenizer.decode([result.next(sequence)])}"`);
  session.close();
} finally {
  await model.close();
}
