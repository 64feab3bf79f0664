// A directory of keys as Keystone keeps them: read again when it changes, kept as it was while it cannot be read.

import { createHash } from 'node:crypto';
import type { Clock, DependencyHealth, Logger } from '../ports.ts';
import { DepartedKeys } from './departed-keys.ts';
import { type KeyFileNames, type Listing, readKeyFiles } from './key-files.ts';

/** Any key. `id` tells it from every other, and opens nothing. */
export interface RepositoryKey {
  readonly id: string;
}

/** What is in a directory, and where it is. */
export interface KeyRepositoryOptions<Key extends RepositoryKey> {
  /** Name of the issuer in the configuration, and of the set; for log lines. */
  readonly issuer: string;
  readonly name: string;
  readonly dir: string;
  readonly files: KeyFiles<Key>;
}

/** How the files of a directory are read. */
export interface KeyFiles<Key extends RepositoryKey> extends KeyFileNames {
  /** The key that `text` is, or in words what is wrong with it; never what is in it. */
  read(text: string): Key | string;
}

/** The keys in use. */
export interface KeysInUse<Key extends RepositoryKey> {
  /** Best first. */
  readonly keys: readonly Key[];
  /** Another number with every other set. */
  readonly generation: number;
}

const unread = 'it has not been read yet';
/** How often `run` looks. */
const tickMs = 1_000;
/** Nobody waits longer for a disk, by the clock of the machine, as a disk knows no other; and after this it is said. */
const patienceMs = 1_000;
const stuckMs = 10_000;

/** The keys of one directory. */
export class KeyRepository<Key extends RepositoryKey> {
  readonly #options: KeyRepositoryOptions<Key>;
  readonly #clock: Clock;
  readonly #log: Logger;
  #inUse: KeysInUse<Key> = { keys: [], generation: 0 };
  #listing: Listing | undefined;
  #problem: string | undefined = unread;
  /** What is in the directory now is no set, whatever is in use. */
  #isEmpty = false;
  #lastGoodAtMs: number | undefined;
  #hasLooked = false;
  /** A look under way, and the one that begins after it. */
  #running: Promise<boolean> | undefined;
  #next: Promise<boolean> | undefined;
  /** The look under way takes longer than anybody waits: a disk that hangs, or a machine that has other things to do. */
  #isLate = false;
  /** Files that were warned of, and in which state. */
  readonly #warned = new Map<string, string>();
  readonly #departed: DepartedKeys;

  constructor(options: KeyRepositoryOptions<Key>, { clock, log }: { readonly clock: Clock; readonly log: Logger }) {
    this.#options = options;
    this.#clock = clock;
    this.#log = log;
    this.#departed = new DepartedKeys(options.issuer, log);
  }

  /** The last good set; empty where there has been none. */
  get inUse(): KeysInUse<Key> {
    return this.#inUse;
  }

  /** The same once the directory has been looked at. */
  async loaded(): Promise<KeysInUse<Key>> {
    if (!this.#hasLooked) await this.look();
    return this.#inUse;
  }

  /**
   * Looks whether something has changed; says whether that could be told. Resolves within a second, when a look is over that began after
   * this call. One at a time: who comes while one is under way shares the next.
   * Cost: a listing and one look at each file, which many calls share.
   */
  look(): Promise<boolean> {
    if (this.#isLate) return Promise.resolve(false);
    if (!this.#running) return this.#begin();
    this.#next ??= this.#running.then(() => {
      this.#next = undefined;
      return this.#isLate ? false : this.#begin();
    });
    return this.#next;
  }

  /** What is wrong, the digest over the keys in whatever order, their number. */
  health(): DependencyHealth {
    const { keys } = this.#inUse;
    return {
      reachable: this.#problem === undefined,
      ...(this.#problem === undefined ? {} : { problem: this.#problem }),
      ...(this.#lastGoodAtMs === undefined ? {} : { lastAnswerAtMs: this.#lastGoodAtMs }),
      ...(keys.length === 0 ? {} : { keySetDigest: digestOver(keys), keyCount: keys.length }),
    };
  }

  /** Looks each second until `signal` aborts, and resolves then. `left` is told of each key that has left, again until it resolves. */
  async run(signal: AbortSignal, left: (keyId: string) => Promise<void>): Promise<void> {
    this.#departed.listener(left);
    while (!signal.aborted) {
      await this.look();
      this.#departed.tell();
      await this.#clock.delay(tickMs, signal).catch(() => undefined);
    }
    this.#departed.listener(undefined);
  }

  get #fields(): { readonly issuer: string; readonly keys: string } {
    return { issuer: this.#options.issuer, keys: this.#options.name };
  }

  #begin(): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const looking = this.#look().finally(() => {
      clearTimeout(timer);
      this.#isLate = false;
      this.#hasLooked = true;
    });
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => {
        // It is left alone until it ends: nothing can break off a call to a disk.
        this.#isLate = true;
        this.#hasLooked = true;
        timer = setTimeout(() => this.#failed('its directory does not answer'), stuckMs - patienceMs);
        resolve(false);
      }, patienceMs);
    });
    const running = Promise.race([looking, late]).finally(() => {
      if (this.#running === running) this.#running = undefined;
    });
    this.#running = running;
    return running;
  }

  async #look(): Promise<boolean> {
    const { dir, files } = this.#options;
    const found = await readKeyFiles(dir, files, this.#listing, this.#clock.nowMs());
    if (found.kind === 'unreadable') return this.#failed(found.problem);
    if (found.kind === 'read') {
      this.#listing = found.listing;
      this.#take(found);
    }
    // Half-way through a copy, more likely than meant: who takes a key away puts another there.
    return this.#isEmpty ? this.#failed('there is no key in it') : this.#good();
  }

  #take({ listing, texts }: { readonly listing: Listing; readonly texts: ReadonlyMap<string, string> }): void {
    const keys = new Map<string, Key>();
    for (const [name, text] of texts) {
      const key = text === '' ? 'it is empty, or too large for a key' : this.#options.files.read(text);
      if (typeof key === 'string') this.#warn(name, listing.stamps.get(name)?.text ?? '', key);
      else if (!keys.has(key.id)) keys.set(key.id, key);
    }
    for (const name of this.#warned.keys()) if (!listing.stamps.has(name) && !listing.more.includes(name)) this.#warned.delete(name);
    for (const name of listing.more) this.#warn(name, '', `there are ${this.#options.files.maxKeys} others, and no more are tried`);
    this.#isEmpty = keys.size === 0;
    if (!this.#isEmpty) this.#replace([...keys.values()]);
  }

  #replace(keys: readonly Key[]): void {
    const before = this.#inUse;
    const stays = new Set(keys.map(({ id }) => id));
    if (before.keys.map(({ id }) => id).join() === [...stays].join()) return;
    const left = before.keys.filter(({ id }) => !stays.has(id));
    for (const { id } of left) this.#departed.add(id);
    this.#inUse = { keys, generation: before.generation + 1 };
    const fields = { ...this.#fields, keySet: digestOver(keys), count: keys.length, left: left.length };
    this.#log.info(fields, before.generation === 0 ? 'keys are at hand' : 'the keys at hand have changed');
  }

  #good(): true {
    if (this.#problem !== undefined && this.#problem !== unread) this.#log.info(this.#fields, 'the keys can be read again');
    this.#problem = undefined;
    this.#lastGoodAtMs = this.#clock.nowMs();
    return true;
  }

  #failed(problem: string): false {
    if (problem !== this.#problem) {
      this.#log.warn({ ...this.#fields, problem, keepsOldKeys: this.#inUse.keys.length > 0 }, 'keys cannot be read');
    }
    this.#problem = problem;
    return false;
  }

  /** Once for each state of a file. */
  #warn(file: string, stamp: string, why: string): void {
    if (this.#warned.get(file) === stamp) return;
    this.#warned.set(file, stamp);
    this.#log.warn({ ...this.#fields, file, why }, 'a file in a key repository is ignored');
  }
}

/** Hex, six characters, the same whatever their order: to compare sidecars. */
function digestOver(keys: readonly RepositoryKey[]): string {
  const ids = keys.map(({ id }) => id).sort();
  return createHash('sha256').update(ids.join('\n')).digest('hex').slice(0, 6);
}
