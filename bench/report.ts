// What every program of bench/ shares: its options, its questions, and how an answer is printed.

/** One question with its answer. `wanted`: `<= 1.3`, `>= 10`, both with ` and ` between, or null where nothing is promised. */
export interface Answer {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  readonly wanted: string | null;
  readonly met: boolean | null;
}

/** One row of a table: an answer, and what it was measured on. */
export interface Row {
  readonly answer: Omit<Answer, 'met'>;
  readonly note: string;
}

/** The options of the command line: `--quick` for a run of seconds, `--json` for one object a question. */
export interface Options {
  readonly quick: boolean;
  readonly json: boolean;
}

export function readOptions(args: readonly string[] = process.argv.slice(2)): Options {
  const unknown = args.filter((arg) => arg !== '--quick' && arg !== '--json');
  if (unknown.length > 0) throw new Error(`unknown option: ${unknown.join(' ')}; there are --quick and --json`);
  return { quick: args.includes('--quick'), json: args.includes('--json') };
}

/** `--only=PART`, as often as wanted: `isWanted` are the rows whose name has one of the parts, or all. `rest`: the other arguments. */
export function readOnly(args: readonly string[] = process.argv.slice(2)): {
  readonly isWanted: (name: string) => boolean;
  readonly rest: readonly string[];
} {
  const sign = '--only=';
  const parts = args.filter((arg) => arg.startsWith(sign)).map((arg) => arg.slice(sign.length));
  const isWanted = (name: string): boolean => parts.length === 0 || parts.some((part) => name.includes(part));
  return { isWanted, rest: args.filter((arg) => !arg.startsWith(sign)) };
}

/** Prints an answer, for people or for machines. `note` says what it was measured on. */
export function report(options: Options, answer: Omit<Answer, 'met'>, note: string): void {
  const met = judged(answer.value, answer.wanted);
  const value = Number(answer.value.toPrecision(4));
  if (options.json) {
    console.log(JSON.stringify({ name: answer.name, value, unit: answer.unit, wanted: answer.wanted, met }));
    return;
  }
  const verdict = met === null ? '' : met ? `  (wanted ${answer.wanted}: met)` : `  (wanted ${answer.wanted}: NOT met)`;
  console.log(`${answer.name}: ${value} ${answer.unit}${verdict}\n    ${note}`);
}

function judged(value: number, wanted: string | null): boolean | null {
  if (wanted === null) return null;
  return wanted.split(' and ').every((one) => {
    const [relation, limit] = one.split(' ');
    return relation === '<=' ? value <= Number(limit) : value >= Number(limit);
  });
}

/** The middle one. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** The value that `part` of the sorted values do not exceed. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
}
