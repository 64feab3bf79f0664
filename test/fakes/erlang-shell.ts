// The shell that an Erlang node has at its standard input: expressions go in one by one, what they give comes back.

import type { ChildProcess } from 'node:child_process';

/** A shell in a running node. */
export interface ErlangShell {
  /** What `expression` gives, as Erlang prints it. Throws where it fails, where the node ends first, and after `limitMs`. */
  evaluate(expression: string, limitMs?: number): Promise<string>;
}

const usualLimitMs = 60_000;

/** Over the standard input and output of `child`. */
export function openErlangShell(child: ChildProcess): ErlangShell {
  const waiting = new Map<number, { resolve(text: string): void; reject(error: Error): void }>();
  let count = 0;
  let unread = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    unread += text;
    for (const [, id, how, value] of unread.matchAll(/@@(\d+) (ok|error) ([A-Za-z0-9+/=]*)@@/g)) {
      const asked = waiting.get(Number(id));
      waiting.delete(Number(id));
      const said = Buffer.from(value ?? '', 'base64').toString();
      if (how === 'ok') asked?.resolve(said);
      else asked?.reject(new Error(`Erlang said ${said}`));
    }
    // What may still be the beginning of an answer; the rest is the node's own talk.
    unread = unread.slice(Math.max(0, unread.lastIndexOf('\n', unread.length - 1)));
  });
  // It may be gone while we write.
  child.stdin?.on('error', () => undefined);
  const gone = (): void => {
    for (const { reject } of waiting.values()) reject(new Error('the node has ended'));
    waiting.clear();
  };
  child.once('exit', gone);

  return {
    evaluate(expression, limitMs = usualLimitMs) {
      count += 1;
      const id = count;
      return new Promise((resolve, reject) => {
        if (child.exitCode !== null || child.signalCode !== null) {
          reject(new Error('the node has ended'));
          return;
        }
        const timer = setTimeout(() => {
          waiting.delete(id);
          reject(new Error(`no answer within ${limitMs} ms to ${expression}`));
        }, limitMs);
        const over =
          <Value>(then: (value: Value) => void) =>
          (value: Value): void => {
            clearTimeout(timer);
            then(value);
          };
        waiting.set(id, { resolve: over(resolve), reject: over(reject) });
        // In a function, so that no variable is bound for the next one; in base64, so that no line is broken.
        const say = (how: string, value: string): string =>
          `io:format("~n@@${id} ${how} ~s@@~n", [base64:encode(unicode:characters_to_binary(io_lib:format("~tp", [${value}])))])`;
        const tried = `try (${expression}) of V -> ${say('ok', 'V')} catch C:E -> ${say('error', '{C, E}')} end`;
        child.stdin?.write(`(fun() -> ${tried} end)().\n`);
      });
    },
  };
}
