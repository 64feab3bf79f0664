// What every TokenFormat must keep to, whatever it reads: the contract of src/ports.ts as a suite.

import { afterEach, describe, expect, it } from 'vitest';
import { SidecarError } from '../../src/core/errors.ts';
import type { Token } from '../../src/core/token.ts';
import type { TokenFormat } from '../../src/ports.ts';

/** A fresh format that has read nothing, its authority, and a token of it. */
export interface TokenFormatSubject {
  readonly format: TokenFormat;
  /** A good token that cannot be answered without the authority, as long as it has not been asked. */
  readonly valid: string;
  /** What its facts must say, at least. */
  readonly expected: Partial<Token>;
  /** Strings of a shape that the issuer accepts, none of which is a good token of it. */
  readonly garbage: readonly string[];
  /** From now on the authority refuses connections. */
  down(): Promise<void>;
  /** From now on the authority takes requests and says nothing. */
  hang(): Promise<void>;
  /** From now on the authority answers with a page of HTML, with this status. */
  html(status: number): Promise<void>;
  close(): Promise<void>;
}

/** Declares the suite. `setUp` makes a new subject for each test. */
export function tokenFormatConformance(name: string, setUp: () => Promise<TokenFormatSubject>): void {
  describe(`${name} keeps to the contract of TokenFormat`, () => {
    let subject: TokenFormatSubject | undefined;
    const begin = async (): Promise<TokenFormatSubject> => {
      subject = await setUp();
      return subject;
    };
    afterEach(async () => {
      await subject?.close();
      subject = undefined;
    });
    const anySignal = (): AbortSignal => new AbortController().signal;

    it('reads the facts of a valid token', async () => {
      const { format, valid, expected } = await begin();

      const reading = await format.read(valid, anySignal());

      expect(reading).toMatchObject({ kind: 'facts', facts: { token: { format: format.name, ...expected } } });
    });

    it('gives the same facts when it is asked again', async () => {
      const { format, valid } = await begin();

      const [first, again] = [await format.read(valid, anySignal()), await format.read(valid, anySignal())];

      // But for how its authority's clock stands, which a reply tells in whole seconds.
      expect({ ...again, clockOffsetMs: 0 }).toEqual({ ...first, clockOffsetMs: 0 });
    });

    it('answers garbage as inactive and never throws', async () => {
      const { format, garbage } = await begin();

      const kinds = await Promise.all(garbage.map(async (raw) => (await format.read(raw, anySignal())).kind));

      expect(garbage.length).toBeGreaterThan(0);
      expect(kinds).toEqual(garbage.map(() => 'inactive'));
    });

    it('has no answer, and says when to ask again, where the authority is down', async () => {
      const { format, valid, down } = await begin();
      await down();

      const error = await failureOf(format.read(valid, anySignal()));

      expect(error.code).toBe('UNAVAILABLE');
      expect(error.retryAfterMs).toBeGreaterThan(0);
      expect(format.health().reachable).toBe(false);
    });

    it.each([200, 401, 403, 404, 500, 503])('has no answer where a page of HTML with status %i comes', async (status) => {
      const { format, valid, html } = await begin();
      await html(status);

      expect((await failureOf(format.read(valid, anySignal()))).code).toBe('UNAVAILABLE');
    });

    it('ends soon after the signal aborts, without an answer', async () => {
      const { format, valid, hang } = await begin();
      await hang();
      const leaving = new AbortController();
      const failure = failureOf(format.read(valid, leaving.signal));

      leaving.abort();

      // CANCELLED: where it passes on that the caller has left.
      expect(['UNAVAILABLE', 'DEADLINE_EXCEEDED', 'CANCELLED']).toContain((await failure).code);
    });

    it('never says the raw token, neither in an error nor in its health', async () => {
      const { format, valid, garbage, down } = await begin();
      await down();

      const said: unknown[] = [];
      for (const raw of [valid, ...garbage]) said.push(await format.read(raw, anySignal()).catch((error: unknown) => told(error)));
      said.push(format.health());

      const text = JSON.stringify(said);
      for (const raw of [valid, ...garbage.filter((one) => one.length > 16)]) expect(text).not.toContain(raw);
    });
  });
}

/** The SidecarError that `work` ends with; anything else fails the test. */
async function failureOf(work: Promise<unknown>): Promise<SidecarError> {
  const outcome = await work.then(
    (value) => ({ value }),
    (error: unknown) => error,
  );
  expect(outcome).toBeInstanceOf(SidecarError);
  return outcome as SidecarError;
}

/** All that an error tells, with its causes. */
function told(error: unknown): unknown {
  return error instanceof Error ? { name: error.name, message: error.message, stack: error.stack, cause: told(error.cause) } : error;
}
