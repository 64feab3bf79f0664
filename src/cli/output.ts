// Where a command writes: data on standard output, everything else on standard error. A reader that goes away is no failure.

import { styleText } from 'node:util';

/** What is coloured, and only for people at a terminal. */
export type Mood = 'good' | 'bad' | 'faint';

/** Standard output and standard error, line by line. */
export interface Output {
  /** One object a line instead of words. */
  readonly json: boolean;
  /** Data. Control characters in it are made visible. */
  print(line: string): void;
  /** Data, as one line of JSON. */
  printJson(value: object): void;
  /** Text for people that is not data, on standard error. */
  say(line: string): void;
  /** Coloured where that is wanted. */
  paint(mood: Mood, text: string): string;
  /** Aborts when nobody reads standard output any more. */
  readonly unread: AbortSignal;
}

/** The options that decide how is written. */
export interface OutputOptions {
  readonly json?: boolean;
  /** False with `--no-color`. */
  readonly color?: boolean;
}

const styles = { good: 'green', bad: 'red', faint: 'dim' } as const;

/** The output of this process. */
export function openOutput({ json = false, color = true }: OutputOptions): Output {
  const unread = new AbortController();
  process.stdout.once('error', () => unread.abort());
  const coloured = color && !json && process.stdout.isTTY === true && !process.env['NO_COLOR'];
  return {
    json,
    print: (line) => void (unread.signal.aborted || process.stdout.write(`${plain(line)}\n`)),
    printJson: (value) => void (unread.signal.aborted || process.stdout.write(`${JSON.stringify(value)}\n`)),
    say: (line) => void process.stderr.write(`${plain(line)}\n`),
    paint: (mood, text) => (coloured ? styleText(styles[mood], text, { validateStream: false }) : text),
    unread: unread.signal,
  };
}

/** From now on a reader that goes away, as `head` does, ends nothing. `lost` is called where data could not be written for another reason. */
export function surviveReaders(lost: () => void): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') return;
    process.stderr.write(`sidegate: standard output cannot be written (${error.code ?? error.name})\n`);
    lost();
  });
  // Without standard error there is nowhere left to say so.
  process.stderr.on('error', () => undefined);
}

/**
 * Without control characters, but for our own colours and line ends: whoever chooses a user's name must not write on the terminal.
 * What turns the direction of writing is one too.
 */
export function plain(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return text.replaceAll(/\x1b\[(?:2|22|31|32|39)m|\n|[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, (found) =>
    found.length > 1 || found === '\n' ? found : `\\u${found.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
