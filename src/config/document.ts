// A YAML text as plain values, with the place and the origin of each, and `${NAME}` read from the environment.

import { isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, visit } from 'yaml';

/** The way to a value: names and list positions from the top. */
export type Path = readonly (string | number)[];

/** From 1. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

/** Something that keeps the configuration from being used, and where. Its message holds no value of the configuration. */
export interface Problem extends Place {
  /** As people write it: `issuers[0].url`. Empty: the whole document. */
  readonly field: string;
  readonly message: string;
}

/** Where a value came from: a place in the file and the environment variables in it. */
export interface Origin extends Place {
  readonly environment: readonly string[];
}

/** A text that could be read at all. */
export interface ConfigDocument {
  /** Plain objects, lists and scalars. */
  readonly value: unknown;
  /** Of what is written there; undefined: it is not written. */
  originOf(path: Path): Origin | undefined;
  /** Of what is written there, else of the nearest thing around it. */
  placeOf(path: Path): Place;
  /** Of the name there rather than of its value. */
  placeOfName(path: Path): Place;
}

/** What is read from the environment. */
export type Environment = Readonly<Record<string, string | undefined>>;

// Far more than a configuration needs; the parser compares every name with every other.
const maxCharacters = 262_144;
const maxDepth = 32;

// Our own words: those of the library repeat pieces of the text, and one of them may be a secret.
const syntax: Readonly<Record<string, string>> = {
  DUPLICATE_KEY: 'the same name is written twice',
  MULTIPLE_DOCS: 'a second document begins here; only one is read',
  TAB_AS_INDENT: 'tabs cannot indent in YAML; use spaces',
  BAD_ALIAS: 'anchors and aliases are not read; write the value out',
  ALIAS_PROPS: 'anchors and aliases are not read; write the value out',
  BAD_INDENT: 'the indentation fits nothing above it',
  MISSING_CHAR: 'something is missing here: a quote, a bracket, a comma or a space after ":"',
  TAG_RESOLVE_FAILED: 'tags (words that begin with "!") are not read',
  UNEXPECTED_TOKEN: `something does not belong here; within { } and [ ] write "\${NAME}" in quotes`,
  NON_STRING_KEY: 'a name must be a plain word',
  RESOURCE_EXHAUSTION: 'it is nested too deeply',
};

const wellFormed: ReadonlySet<string> = new Set(['DUPLICATE_KEY', 'MULTIPLE_DOCS', 'TAG_RESOLVE_FAILED', 'NON_STRING_KEY']);

/** Reads `text`. Answers all that is wrong with it as YAML, or the document. Never throws. */
export function readDocument(
  text: string,
  env: Environment,
): { readonly document?: ConfigDocument; readonly problems: readonly Problem[] } {
  if (text.length > maxCharacters) return { problems: [{ line: 1, column: 1, field: '', message: 'is longer than 262,144 characters' }] };
  const problems: Problem[] = [];
  const lines = new LineCounter();
  const at = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const parsed = parseDocument(text, { prettyErrors: false, lineCounter: lines, stringKeys: true, logLevel: 'error' });
  let lost = false;
  for (const { code, pos } of [...parsed.errors, ...parsed.warnings]) {
    // After one error of grammar the parser guesses, and what else it says would only hide the first.
    const ofGrammar = !wellFormed.has(code);
    if (ofGrammar && lost) continue;
    lost ||= ofGrammar;
    problems.push({ ...at(pos[0]), field: '', message: syntax[code] ?? `is not YAML that can be read (${code})` });
  }
  visit(parsed, {
    Alias: (_, node) => void problems.push({ ...at(node.range?.[0] ?? 0), field: '', message: syntax['BAD_ALIAS'] ?? '' }),
    Value: (_, node) =>
      node.anchor === undefined
        ? undefined
        : void problems.push({ ...at(node.range?.[0] ?? 0), field: '', message: syntax['BAD_ALIAS'] ?? '' }),
  });
  if (problems.length > 0) return { problems };
  const tree = new Tree(env, at);
  const value = tree.plain(parsed.contents, []);
  return tree.problems.length > 0 ? { problems: tree.problems } : { problems: [], document: tree.document(value) };
}

/** Walks the nodes once: values, where they are, and what they took from the environment. */
class Tree {
  readonly problems: Problem[] = [];
  readonly #origins = new Map<string, Origin>();
  readonly #names = new Map<string, Place>();
  readonly #env: Environment;
  readonly #at: (offset: number) => Place;

  constructor(env: Environment, at: (offset: number) => Place) {
    this.#env = env;
    this.#at = at;
  }

  plain(node: Node | null, path: Path): unknown {
    // What is written as nothing is where its name is.
    const place = node?.range ? this.#at(node.range[0]) : this.#placeOf(path);
    this.#origins.set(keyOf(path), { ...place, environment: [] });
    if (path.length > maxDepth) {
      this.problems.push({ ...place, field: fieldOf(path), message: syntax['RESOURCE_EXHAUSTION'] ?? '' });
      return undefined;
    }
    if (isMap<Node, Node | null>(node)) {
      const pairs = node.items.map(({ key, value }) => {
        const name = isScalar(key) ? String(key.value) : '';
        const inner = [...path, name];
        const namePlace = key.range ? this.#at(key.range[0]) : place;
        this.#names.set(keyOf(inner), namePlace);
        this.#origins.set(keyOf(inner), { ...namePlace, environment: [] });
        return [name, this.plain(value, inner)] as const;
      });
      return Object.fromEntries(pairs);
    }
    if (isSeq<Node>(node)) return node.items.map((item, index) => this.plain(item, [...path, index]));
    if (!isScalar(node)) return undefined;
    return typeof node.value === 'string' ? this.#substitute(node.value, path, place) : node.value;
  }

  // `${NAME}` is the environment's; `$${` is `${`. What comes from there stays text: it cannot add settings.
  #substitute(text: string, path: Path, place: Place): string {
    const environment: string[] = [];
    const problem = (message: string): string => {
      this.problems.push({ ...place, field: fieldOf(path), message });
      return '';
    };
    const value = text.replace(/\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\$\{/g, (found, name: string | undefined) => {
      if (found === '$${') return '${';
      if (name === undefined)
        return problem(`"\${" begins the name of an environment variable, as in \${NAME}; write $\${ for the characters`);
      const set = Object.hasOwn(this.#env, name) ? this.#env[name] : undefined;
      environment.push(name);
      return set ?? problem(`the environment has no ${name}`);
    });
    this.#origins.set(keyOf(path), { ...place, environment });
    return value;
  }

  #placeOf(path: Path): Place {
    for (let length = path.length; length >= 0; length--) {
      const found = this.#origins.get(keyOf(path.slice(0, length)));
      if (found) return { line: found.line, column: found.column };
    }
    return { line: 1, column: 1 };
  }

  document(value: unknown): ConfigDocument {
    return {
      value,
      originOf: (path) => this.#origins.get(keyOf(path)),
      placeOf: (path) => this.#placeOf(path),
      placeOfName: (path) => this.#names.get(keyOf(path)) ?? this.#placeOf(path),
    };
  }
}

/** A path as people write it. Names that nobody would give a setting are not repeated: they may be a value in the wrong place. */
export function fieldOf(path: Path): string {
  return path
    .map((step) => (typeof step === 'number' ? `[${step}]` : /^[A-Za-z0-9_-]{1,40}$/.test(step) ? `.${step}` : '.?'))
    .join('')
    .replace(/^\./, '');
}

const keyOf = (path: Path): string => JSON.stringify(path);
