// An issuer's signing certificates over time: read again when their files change, judged again when one begins or ends, and told when one
// is not to be believed any more.

import { createHash } from 'node:crypto';
import { SidecarError } from '../core/errors.ts';
import type { Clock, DependencyHealth, Logger } from '../ports.ts';
import { DepartedKeys, type Invalidate } from './departed-keys.ts';
import { orAbort } from './or-abort.ts';
import { type Certificates, type Judgement, judge, readCertificates, type Signer } from './signing-certificates.ts';

/** A text in a file. `read` looks whether it has changed, and throws UNAVAILABLE where it cannot be read. */
export interface TextFile {
  read(): Promise<string>;
}

/** Where the certificates are: PEM. */
export interface CertificateSetOptions {
  /** Name of the issuer in the configuration, for log lines. */
  readonly name: string;
  /** Every one in it may sign tokens. */
  readonly signingCert: TextFile;
  /** A signing certificate must lead to one of these. */
  readonly ca: TextFile;
}

/** Certificates as they were when their files were last read, and what is to be made of them. */
export interface HeldCertificates {
  readonly certificates: Certificates;
  readonly judgement: Judgement;
}

/** What was read, and from which texts. */
interface Read {
  readonly certificates: Certificates;
  readonly texts: readonly [string, string];
}

/** The certificates of one issuer. */
export interface CertificateSet {
  /**
   * As the files are after this call. `isNew` is false where they cannot be read just now, or not within a second: then they are as they
   * were. Throws UNAVAILABLE / KEYS_UNAVAILABLE where they never could be; DEADLINE_EXCEEDED when `signal` aborts first.
   * Cost: a look at two files, which calls at one time share.
   */
  latest(signal: AbortSignal): Promise<{ readonly held: HeldCertificates; readonly isNew: boolean }>;
  /** As they were at most a second ago, where they are looked at in the background; undefined: not read yet, or not judged for this moment. */
  held(): HeldCertificates | undefined;
  /** As TokenFormat.health. */
  health(): DependencyHealth;
  /** As TokenFormat.run: looks at the files each second. */
  run(signal: AbortSignal, invalidate: Invalidate): Promise<void>;
}

/** How often `run` looks. */
const tickMs = 1_000;
/** A disk that takes longer is taken for one that does not answer. */
const lookMs = 1_000;

/** A set of certificates. Nothing is read before `run` or the first `latest`. */
export function createCertificateSet(
  options: CertificateSetOptions,
  { clock, log }: { readonly clock: Clock; readonly log: Logger },
): CertificateSet {
  const departed = new DepartedKeys(options.name, log);
  let held: (Read & HeldCertificates) | undefined;
  let flight: Promise<void> | undefined;
  /** Why the files cannot be read now. */
  let failure: string | undefined = 'the certificates have not been read yet';
  /** A reading has not come to its end, and nothing can break it off. */
  let isStuck = false;
  let lastAnswerAtMs: number | undefined;

  /** One at a time; never rejects: what came of it is in the state. */
  function fly(): Promise<void> {
    flight ??= look().finally(() => {
      flight = undefined;
    });
    return flight;
  }

  /** When a look that began after this call is over: one that runs already may have read a file before it changed. */
  async function looked(): Promise<void> {
    await flight;
    await fly();
  }

  async function look(): Promise<void> {
    let read: Read | undefined = held;
    let why: string | undefined;
    try {
      const texts = await textsInTime();
      if (!held?.texts.every((text, at) => text === texts[at])) read = { certificates: await readCertificates(...texts), texts };
    } catch (error) {
      why = error instanceof SidecarError ? error.message : 'what they hold cannot be made out';
    }
    // Also of those whose files cannot be read just now: what has ended has ended.
    if (read !== undefined && (read !== held || !holds(held.judgement, clock.nowMs()))) {
      replace({ ...read, judgement: await judge(read.certificates, clock.nowMs()) });
    }
    if (why === undefined) worked();
    else failed(why);
    departed.tell();
  }

  async function textsInTime(): Promise<readonly [string, string]> {
    const silent = new SidecarError('UNAVAILABLE', 'their files do not answer', { reason: 'KEYS_UNREADABLE' });
    if (isStuck) throw silent;
    // One after the other: a disk that hangs keeps a thread for each, and node has four for all files.
    const reading = options.signingCert.read().then(async (signing) => [signing, await options.ca.read()] as const);
    const over = new AbortController();
    const late = clock.delay(lookMs, over.signal).then(
      () => {
        isStuck = true;
        const free = (): void => {
          isStuck = false;
        };
        reading.then(free, free);
        throw silent;
      },
      () => reading,
    );
    try {
      return await Promise.race([reading, late]);
    } finally {
      over.abort();
    }
  }

  function worked(): void {
    if (failure !== undefined && lastAnswerAtMs !== undefined) log.info({ issuer: options.name }, 'the certificates can be read again');
    failure = undefined;
    lastAnswerAtMs = clock.nowMs();
  }

  function failed(why: string): void {
    if (why !== failure)
      log.warn({ issuer: options.name, problem: why, keepsOldOnes: held !== undefined }, 'the certificates cannot be read');
    failure = why;
  }

  function replace(next: Read & HeldCertificates): void {
    const { trusted } = next.judgement;
    const stay = new Set(trusted.map((signer) => signer.fingerprint));
    // By the certificate: another one for the same key does not keep alive what names this one as its signer.
    const left = held?.judgement.trusted.filter((signer) => !stay.has(signer.fingerprint)) ?? [];
    for (const { keyId } of left) departed.add(keyId);
    held = next;
    const fields = { issuer: options.name, keySet: digestOf(trusted), keys: trusted.length, left: left.length };
    log.info(fields, 'the signing certificates have changed');
    for (const one of problemsOf(next)) log.warn(fields, one);
  }

  return {
    async latest(signal) {
      await orAbort(looked(), signal);
      if (held !== undefined) return { held, isNew: failure === undefined };
      throw new SidecarError('UNAVAILABLE', `The certificates of issuer ${options.name} are not available: ${failure ?? ''}`, {
        reason: 'KEYS_UNAVAILABLE',
        retryAfterMs: tickMs,
      });
    },

    held: () => (held !== undefined && holds(held.judgement, clock.nowMs()) ? held : undefined),

    health() {
      const problem = failure ?? (held && problemsOf(held).join('; '));
      return {
        reachable: failure === undefined,
        ...(problem ? { problem } : {}),
        ...(lastAnswerAtMs === undefined ? {} : { lastAnswerAtMs }),
        ...(held === undefined ? {} : { keySetDigest: digestOf(held.judgement.trusted), keyCount: held.judgement.trusted.length }),
      };
    },

    async run(signal, invalidate) {
      departed.listener(invalidate);
      try {
        while (!signal.aborted) {
          await orAbort(looked(), signal);
          // Again, where that failed.
          departed.tell();
          await clock.delay(tickMs, signal);
        }
      } catch (error) {
        // The waits reject when we are told to stop; nothing else ends this loop quietly.
        if (!signal.aborted) throw error;
      } finally {
        departed.listener(undefined);
      }
    },
  };
}

function holds({ sinceMs, untilMs }: Judgement, atMs: number): boolean {
  return atMs >= sinceMs && atMs < untilMs;
}

function problemsOf({ certificates, judgement }: HeldCertificates): readonly string[] {
  return [...certificates.problems, ...judgement.problems];
}

/** Hex, six characters of SHA-256 over the sorted certificates: to compare sidecars. */
function digestOf(signers: readonly Signer[]): string {
  const sorted = signers.map((signer) => signer.fingerprint).sort();
  return createHash('sha256').update(sorted.join('\n')).digest('hex').slice(0, 6);
}
