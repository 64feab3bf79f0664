// PKI and PKIZ tokens of a Keystone: the whole token body, signed. What they say is believed by their signature, and nobody is asked.

import { createHash } from 'node:crypto';
import { attributesOf } from '../core/attributes.ts';
import type { InactiveReason } from '../core/decision.ts';
import { SidecarError } from '../core/errors.ts';
import { hashIdsOf } from '../core/raw.ts';
import { readKeystoneToken } from '../keystone/token-body.ts';
import type { Clock, Glance, Logger, Reading, ReadOptions, TokenFormat } from '../ports.ts';
import { type CertificateSetOptions, createCertificateSet, type HeldCertificates } from './certificate-set.ts';
import { readCms } from './cms.ts';
import { inTurns } from './in-turns.ts';
import { orAbort } from './or-abort.ts';
import { derOf, isPacked } from './pki-spelling.ts';
import { hasSigned, type Signer } from './signing-certificates.ts';

/** How an issuer's PKI tokens are read. */
export interface PkiOptions extends CertificateSetOptions {
  /** What is allowed beyond an end, in milliseconds: for `glance`, as `decide` judges it for everything else. */
  readonly leewayMs: number;
}

/** A format with all that a format may have. */
export type PkiReader = TokenFormat & Required<Pick<TokenFormat, 'glance' | 'tellsAll' | 'run'>>;

/** A token of 64 KiB may be 2 MB when it is unpacked, and somebody may send thousands at once. */
const unpackedAtOnce = 8;

/** What judges a signature. `isNew`: looked at after the question. */
interface Judges {
  readonly held: HeldCertificates;
  readonly isNew: boolean;
}

/**
 * The reader of PKI and PKIZ tokens.
 *
 * Answers, first that fits: MALFORMED (another spelling, or a CMS of another form, as `derOf` and `readCms` say); BAD_SIGNATURE (another
 * algorithm, SHA-1 included; a signer that is not configured, does not lead to the CA, or whose certificates are not valid now; a wrong
 * signature); MALFORMED (what was signed is no v3 token); WRONG_CERTIFICATE (bound to what nobody can show: `bind`); else facts. An ended
 * token with a right signature gives facts: `decide` says EXPIRED. Only what was signed is read.
 * Throws as TokenFormat says, where the certificates cannot be had.
 * Cost: a look at two files, one parse of the CMS and of the body, one verification, which is not on this thread: a millisecond or so.
 * Eight packed ones are read at once; the others wait.
 */
export function createPkiReader(options: PkiOptions, deps: { readonly clock: Clock; readonly log: Logger }): PkiReader {
  const { name, leewayMs } = options;
  const { clock } = deps;
  const certificates = createCertificateSet(options, deps);
  const inTurn = inTurns(unpackedAtOnce);

  async function reading(raw: string, judges: () => Promise<Judges>, wanted: ReadOptions): Promise<Reading> {
    const der = await derOf(raw);
    const signed = der && (await readCms(der));
    if (signed === undefined) return inactive('MALFORMED');
    if (signed.algorithm === undefined) return inactive('BAD_SIGNATURE');
    const { held, isNew } = await judges();
    const named = held.judgement.trusted.filter(({ namedAs }) => Buffer.compare(namedAs, signed.signedBy) === 0);
    for (const signer of named) if (await hasSigned(signer, signed)) return said(signed.content, signer, wanted);
    // The certificate of a signer that nobody knows may not have come yet.
    return isNew && named.length > 0 ? inactive('BAD_SIGNATURE') : { ...inactive('BAD_SIGNATURE'), byOldKeys: true };
  }

  function said(content: Uint8Array, { keyId }: Signer, { catalog = false }: ReadOptions): Reading {
    const body = bodyIn(content, name, catalog);
    if (body?.kind !== 'facts') return body ?? inactive('MALFORMED');
    const { facts } = body;
    return {
      ...body,
      facts: {
        ...facts,
        token: { ...facts.token, format: 'pki' },
        // What was signed, where it has no id of its own: a hash of the string would name one of many. A PKIZ token can be packed anew,
        // and an elliptic signature be written in two ways.
        identity: facts.identity ?? sha256(content),
        keyId,
      },
      provenance: 'signature',
    };
  }

  async function glance(raw: string, wanted: Pick<ReadOptions, 'allowExpired'>): Promise<Glance | undefined> {
    const held = certificates.held();
    if (held === undefined) return undefined;
    const work = (): Promise<Reading> => reading(raw, async () => ({ held, isNew: false }), {});
    const read = await (isPacked(raw) ? inTurn(work) : work());
    // A certificate that has come since would make it another one, and a look at the files is not for a glance.
    if (read.kind === 'inactive') return read.byOldKeys ? undefined : read;
    const { issuedAtMs, expiresAtMs } = read.facts.token;
    const { identity = '' } = read.facts;
    const hasEnded = expiresAtMs !== undefined && clock.nowMs() >= expiresAtMs + leewayMs;
    if (hasEnded && !wanted.allowExpired) return inactive('EXPIRED');
    return { kind: 'part', attributes: attributesOf(read.facts, identity, { hashIds: hashIdsOf(raw) }), identity, issuedAtMs, expiresAtMs };
  }

  return {
    name: 'pki',
    tellsAll: () => true,
    read(raw, signal, wanted = {}) {
      const work = (): Promise<Reading> => reading(raw, () => certificates.latest(signal), wanted);
      return isPacked(raw) ? orAbort(inTurn(work, signal), signal) : work();
    },
    async glance(raw, wanted = {}) {
      try {
        return await glance(raw, wanted);
      } catch (_noEvidence) {
        // A signature that could not be checked: `read` says so.
        return undefined;
      }
    },
    health: () => certificates.health(),
    run: (signal, invalidate) => certificates.run(signal, invalidate),
  };
}

function inactive(reason: InactiveReason): { readonly kind: 'inactive'; readonly reason: InactiveReason } {
  return { kind: 'inactive', reason };
}

/** Undefined: its signer has signed it, and it is no body of a v3 token. */
function bodyIn(content: Uint8Array, issuer: string, catalog: boolean): Reading | undefined {
  try {
    return readKeystoneToken(content, issuer, { catalog, auditIds: 'optional' });
  } catch (error) {
    // Of an authority that would be no answer; here it is the token itself that says nothing.
    if (error instanceof SidecarError && error.reason === 'BAD_ANSWER') return undefined;
    throw error;
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('base64url');
}
