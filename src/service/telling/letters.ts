// The letters that wait, sealed: bounded, on disk before they count, and there again after a restart (S5).

import { SidecarError } from '../../core/errors.ts';
import { deriveKey } from '../../core/sealed.ts';
import type { DeploymentKey } from '../../core/tag.ts';
import type { Outbox, Telemetry } from '../../ports.ts';
import { type Envelope, envelopeOf, type Letter, type LetterHead, type LetterKey, letterId, openLetter, sealLetter } from './letter.ts';

/** How much may wait. */
export interface OutboxLimits {
  /** Letters. Those of tokens of which only the shape is known may be half of them: strangers make those up. */
  readonly letters: number;
  /** Of all records together; they are held in memory too. */
  readonly sizeBytes: number;
}

/** 10,000 revocations while an authority is away: an hour of three a second. 32 MiB: of tokens of 3 kB each. */
export const usualOutboxLimits: OutboxLimits = { letters: 10_000, sizeBytes: 32 * 1024 * 1024 };

/** What the outbox needs. */
export interface LettersParts {
  readonly outbox: Outbox;
  /** Newest first: it seals; every one opens. */
  readonly keys: readonly [DeploymentKey, ...DeploymentKey[]];
  readonly telemetry: Telemetry;
  readonly limits?: OutboxLimits;
}

/** A letter that is on disk. */
export interface Kept {
  readonly id: string;
  /** Undefined: a record that this version cannot read. */
  readonly envelope: Envelope | undefined;
  readonly sizeBytes: number;
  /** One of the keys opens it. */
  readonly isReadable: boolean;
}

/** What letters take of the limits. */
interface Load {
  readonly letters: number;
  readonly unverified: number;
  readonly sizeBytes: number;
}

/** Letters by their ids. */
export class Letters {
  readonly #outbox: Outbox;
  readonly #keys: readonly [LetterKey, ...LetterKey[]];
  readonly #telemetry: Telemetry;
  readonly #limits: OutboxLimits;
  readonly #kept = new Map<string, Kept>();
  // With those on their way to the disk, so that many at once do not pass the limit.
  #load: Load = { letters: 0, unverified: 0, sizeBytes: 0 };

  constructor({ outbox, keys, telemetry, limits = usualOutboxLimits }: LettersParts) {
    const [newest, ...older] = keys;
    this.#outbox = outbox;
    this.#keys = [letterKey(newest), ...older.map(letterKey)];
    this.#telemetry = telemetry;
    this.#limits = limits;
  }

  /** Letters that wait, the unreadable ones too. */
  get size(): number {
    return this.#kept.size;
  }

  /** Those that no key opens, or that another version wrote. They are kept until they do not matter any more. */
  get unreadable(): number {
    return this.all().filter(({ isReadable }) => !isReadable).length;
  }

  all(): readonly Kept[] {
    return [...this.#kept.values()];
  }

  find(id: string): Kept | undefined {
    return this.#kept.get(id);
  }

  /**
   * Reads what the processes before this one left, and seals with the newest key what an older one sealed, so that the older one may
   * go. Throws as `Outbox.list`.
   */
  async load(): Promise<void> {
    const [newest] = this.#keys;
    for (const { id, record } of await this.#outbox.list()) {
      const kept = this.#found(id, record);
      this.#kept.set(id, kept);
      this.#count(kept, 1);
    }
    const older = this.all().filter(({ isReadable, envelope }) => isReadable && envelope?.keyId !== newest.id);
    await Promise.all(older.map((kept) => this.#sealAgain(kept)));
    const { unreadable } = this;
    if (unreadable === 0) return;
    const message =
      'revocations in the outbox cannot be read with the deployment keys that are here: their authorities are not told. They are kept; ' +
      'put the key back and restart';
    this.#telemetry.log.error({ letters: unreadable }, message);
  }

  /**
   * Keeps a letter, durably when it resolves; in place of one of the same id.
   * Throws RESOURCE_EXHAUSTED / OUTBOX_FULL, and as `Outbox.put`.
   */
  async put(letter: Letter): Promise<Kept> {
    const { head } = letter;
    const id = letterId(head.errand, head.fingerprint);
    const record = sealLetter(letter, this.#keys[0]);
    const kept = { id, envelope: envelopeOf(record), sizeBytes: record.byteLength, isReadable: true };
    if (!this.#kept.has(id)) this.#requireRoom(kept);
    this.#count(kept, 1);
    try {
      await this.#outbox.put(id, record);
    } catch (error) {
      this.#count(kept, -1);
      throw error;
    }
    this.#drop(id);
    this.#kept.set(id, kept);
    return kept;
  }

  /** Forgets it, durably when it resolves. Throws as `Outbox.remove`: then it may be there again after a restart. */
  async remove(kept: Kept): Promise<void> {
    this.#drop(kept.id);
    await this.#outbox.remove(kept.id);
  }

  /** The token of a letter; undefined where no key opens it. */
  open({ envelope }: Kept): string | undefined {
    const key = this.#keys.find(({ id }) => id === envelope?.keyId);
    return envelope && key && openLetter(envelope, key);
  }

  /** What is there already. */
  #found(id: string, record: Uint8Array): Kept {
    const envelope = envelopeOf(record);
    const kept = { id, envelope, sizeBytes: record.byteLength, isReadable: false };
    return { ...kept, isReadable: isAt(id, envelope?.head) && this.open(kept) !== undefined };
  }

  async #sealAgain(before: Kept): Promise<void> {
    const raw = this.open(before);
    if (raw !== undefined && before.envelope) await this.put({ head: before.envelope.head, raw });
  }

  #drop(id: string): void {
    const kept = this.#kept.get(id);
    if (!kept) return;
    this.#kept.delete(id);
    this.#count(kept, -1);
  }

  #count(kept: Kept, sign: 1 | -1): void {
    const { letters, unverified, sizeBytes } = this.#load;
    const more = loadOf(kept);
    this.#load = {
      letters: letters + sign * more.letters,
      unverified: unverified + sign * more.unverified,
      sizeBytes: sizeBytes + sign * more.sizeBytes,
    };
  }

  #requireRoom(kept: Kept): void {
    const most = this.#limits;
    const more = loadOf(kept);
    const hasRoom =
      this.#load.letters + more.letters <= most.letters &&
      this.#load.sizeBytes + more.sizeBytes <= most.sizeBytes &&
      (more.unverified === 0 || this.#load.unverified + more.unverified <= most.letters / 2);
    if (hasRoom) return;
    throw new SidecarError('RESOURCE_EXHAUSTED', 'too much waits to be told to the authorities', {
      reason: 'OUTBOX_FULL',
      retryAfterMs: 60_000,
    });
  }
}

function loadOf({ envelope, sizeBytes }: Kept): Load {
  return { letters: 1, unverified: envelope?.head.isVerified === false ? 1 : 0, sizeBytes };
}

function isAt(id: string, head: LetterHead | undefined): boolean {
  return head !== undefined && letterId(head.errand, head.fingerprint) === id;
}

function letterKey({ id, secret }: DeploymentKey): LetterKey {
  return { id, key: deriveKey(secret, 'outbox') };
}
