// A reader of PKI tokens over certificate files that a test writes, and the tokens it reads.

import { readFileSync } from 'node:fs';
import type { TextFile } from '../../src/formats/certificate-set.ts';
import { createPkiReader, type PkiReader } from '../../src/formats/pki.ts';
import type { Reading } from '../../src/ports.ts';
import { createFakeClock, type FakeClock } from '../fakes/clock.ts';
import type { Certified } from '../fakes/pki.ts';
import { createFakeTelemetry, type FakeTelemetry } from '../fakes/telemetry.ts';

/** Tokens that keystoneclient signed, and with which certificates. */
export const vectors: {
  readonly certificates: Readonly<Record<'ca' | 'signing' | 'other', string>>;
  readonly tokens: {
    readonly unscoped: Readonly<
      Record<
        | 'signed_text'
        | 'PKI_sha256'
        | 'PKIZ_sha256'
        | 'PKI_sha1'
        | 'PKIZ_sha1'
        | 'PKI_by_an_unknown_signer'
        | 'PKI_hash_md5'
        | 'PKI_hash_sha256',
        string
      >
    >;
    readonly project: Readonly<
      Record<'signed_text' | 'PKI_sha256' | 'PKIZ_sha256' | 'PKI_sha1' | 'PKI_hash_md5' | 'PKI_hash_sha256', string>
    >;
    readonly admin_project: Readonly<Record<'PKIZ_sha256', string>>;
  };
} = JSON.parse(readFileSync(new URL('../vectors/pki-tokens.json', import.meta.url), 'utf8'));

/** While they live. */
export const captureMs: number = Date.UTC(2026, 10, 21, 18, 30, 0);

/** A body that Keystone would sign: of a token that lives at `captureMs`, with other members of `token`. */
export function bodyOf(members: object = {}): string {
  const { token } = JSON.parse(vectors.tokens.unscoped.signed_text);
  return JSON.stringify({ token: { ...token, ...members } });
}

/** A file that a test writes, loses, or lets hang. */
export class ScriptedFile implements TextFile {
  #now: string | Error | 'hanging';
  #waiting: (() => void)[] = [];
  reads = 0;

  constructor(text: string) {
    this.#now = text;
  }

  write(text: string | Error): void {
    this.#now = text;
    for (const go of this.#waiting.splice(0)) go();
  }

  hang(): void {
    this.#now = 'hanging';
  }

  async read(): Promise<string> {
    this.reads += 1;
    while (this.#now === 'hanging') await new Promise<void>((resolve) => this.#waiting.push(resolve));
    if (this.#now instanceof Error) throw this.#now;
    return this.#now;
  }
}

/** A reader with what a test moves and looks at. */
export interface PkiStage {
  readonly reader: PkiReader;
  readonly signing: ScriptedFile;
  readonly ca: ScriptedFile;
  readonly clock: FakeClock;
  readonly telemetry: FakeTelemetry;
  read(raw: string, catalog?: boolean): Promise<Reading>;
  /** The reader at work in the background; answers what has left so far, and how to end it. */
  run(): { readonly left: string[]; fails(): void; works(): void; end(): Promise<void> };
}

export function createPkiStage(signing: string | readonly Certified[], ca: string | Certified, nowMs: number = captureMs): PkiStage {
  const files = {
    signing: new ScriptedFile(typeof signing === 'string' ? signing : signing.map((one) => one.pem).join('')),
    ca: new ScriptedFile(typeof ca === 'string' ? ca : ca.pem),
  };
  const clock = createFakeClock(nowMs);
  const telemetry = createFakeTelemetry();
  const reader = createPkiReader({ name: 'central', signingCert: files.signing, ca: files.ca, leewayMs: 0 }, { clock, log: telemetry.log });
  return {
    reader,
    ...files,
    clock,
    telemetry,
    read: (raw, catalog = false) => reader.read(raw, new AbortController().signal, { catalog }),
    run() {
      const stop = new AbortController();
      const left: string[] = [];
      let isFailing = false;
      const running = reader.run(stop.signal, async (keyId) => {
        if (isFailing) throw new Error('the journal fails');
        left.push(keyId);
      });
      return {
        left,
        fails: () => {
          isFailing = true;
        },
        works: () => {
          isFailing = false;
        },
        async end() {
          stop.abort();
          await running;
        },
      };
    },
  };
}

/** A reading in one word. */
export function wordOf(reading: Reading): string {
  if (reading.kind === 'facts') return 'facts';
  return reading.byOldKeys ? `${reading.reason} by old keys` : reading.reason;
}

/** The same without saying whether it is certain. */
export function reasonOf(reading: Reading): string {
  return reading.kind === 'facts' ? 'facts' : reading.reason;
}

/** Moves the clock, a quarter of a second each time, until it is so: what is waited for is real work, and takes its own time. */
export async function until({ clock }: PkiStage, isSo: () => boolean): Promise<void> {
  while (!isSo()) {
    await clock.advance(250);
    await turn();
  }
}

/** The same without moving the clock. */
export async function untilThere(isSo: () => boolean): Promise<void> {
  while (!isSo()) await turn();
}

/** One turn of the event loop. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
