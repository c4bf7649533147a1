// `run --chat`: a conversation in the terminal. Ctrl-C stops an answer, a second one leaves, as /exit and the end of input do; /reset
// begins anew. Any other line is said to the model, also one that begins with a slash: models have switches of their own, and paths
// begin so. Where input is no terminal, every line is a turn and answers go to stdout one after another.
import { createInterface } from "node:readline";
import { styleText } from "node:util";
import { DiagnosticError, didYouMean } from "../../ir/diagnostic.ts";
import { chat, type Chat, type ChatOptions, type Model, type Tokenizer } from "../../runtime/index.ts";
import { say } from "../tell.ts";

const COMMANDS = ["/reset", "/exit"];

export async function converse(open: () => Promise<Model>, tokenizer: Tokenizer, options: ChatOptions): Promise<void> {
  const model = await open();
  try {
    const talk = await chat(model, tokenizer, options);
    try {
      await turns(talk);
    } finally {
      talk.close();
    }
  } finally {
    await model.close();
  }
}

async function turns(talk: Chat): Promise<void> {
  const terminal = process.stdin.isTTY === true && process.stdout.isTTY === true;
  const rl = createInterface({
    input: process.stdin,
    ...(terminal ? { output: process.stdout } : {}),
    terminal,
    crlfDelay: Infinity,
    prompt: "> ",
  });
  let answering: AbortController | undefined;
  let leaving = false;
  const hint = (text: string): void => void (terminal && process.stdout.write(styleText("dim", text) + "\n"));
  rl.on("SIGINT", () => {
    if (answering && !answering.signal.aborted) return answering.abort();
    if (leaving || answering) return rl.close();
    leaving = true;
    process.stdout.write("\n");
    hint("Ctrl-C again or /exit leaves, /reset begins anew");
    rl.prompt();
  });
  hint("Ctrl-C stops an answer; /reset begins anew, /exit leaves");
  rl.prompt();
  try {
    for await (const line of rl) {
      const word = line.trim();
      leaving = false;
      if (word === "/exit") break;
      if (word === "/reset") talk.reset();
      else if (word !== "") {
        if (/^\/\S+$/.test(word) && didYouMean(word, COMMANDS)) hint(`said to the model; there are ${COMMANDS.join(" and ")}`);
        answering = new AbortController();
        try {
          await answer(talk, line, answering.signal, terminal);
        } catch (e) {
          if (!(e instanceof DiagnosticError)) throw e;
          e.diagnostics.forEach(say);
          if (!terminal) process.exitCode = 1;
        }
        // One more Ctrl-C after the one that stopped an answer leaves.
        leaving = answering.signal.aborted;
        answering = undefined;
      }
      if (terminal) rl.prompt();
    }
  } finally {
    rl.close();
  }
}

async function answer(talk: Chat, said: string, signal: AbortSignal, terminal: boolean): Promise<void> {
  const dim = (text: string): string => (terminal ? styleText("dim", text) : text);
  let reasoning = false;
  const mark = (now: boolean): void => {
    if (now !== reasoning) process.stdout.write(dim(now ? "<think>\n" : "\n</think>\n"));
    reasoning = now;
  };
  for await (const { kind, text } of talk.say(said, { signal })) {
    mark(kind === "reasoning");
    process.stdout.write(kind === "reasoning" ? dim(text) : text);
  }
  mark(false);
  process.stdout.write("\n");
  if (!terminal || !talk.last) return;
  const { finish, prefilled, kept, ids, drafted, accepted } = talk.last;
  const why = finish === "abort" ? "stopped; " : finish === "length" ? "cut at the most tokens there may be; " : "";
  const drafts = drafted ? `, ${accepted} of ${drafted} drafts accepted` : "";
  process.stdout.write(dim(`${why}${kept} tokens kept, ${prefilled} read, ${ids} written${drafts}`) + "\n");
}
