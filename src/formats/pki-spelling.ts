// How Keystone spells a CMS as a token: PKI and PKIZ, each with one spelling that we read.

import { promisify } from 'node:util';
import { inflate } from 'node:zlib';

const unpack: (bytes: Uint8Array, limits: { maxOutputLength: number; info: true }) => Promise<unknown> = promisify(inflate);

const pkizPrefix = 'PKIZ_';
const pemBegin = '-----BEGIN CMS-----\n';
const pemEnd = '-----END CMS-----\n';
const sequenceTag = 0x30;

/** Nobody's token is as large when it is unpacked. */
const maxUnpackedBytes = 4 * 1024 ** 2;
/** Keystone packs PEM, which shrinks to a quarter or so: what grows more than this is no token but an attempt to keep us busy. */
const maxGrowth = 32;
/** For small ones, whose growth says little. */
const alwaysAllowedBytes = 64 * 1024;

/** It has to be unpacked, and may then be much larger. */
export function isPacked(raw: string): boolean {
  return raw.startsWith(pkizPrefix);
}

/**
 * The DER that `raw` spells; undefined where it spells none.
 *
 * PKI: the PEM body in one line, with `-` for `/` (and `+` as it is). PKIZ: `PKIZ_`, then base64url with its padding of a zlib stream
 * of the PEM, as Keystone writes it, or of the DER. No other letters, padding, spare bits or rest, in any layer: what cannot be
 * written again as it was read is none. (But a zlib stream can be packed anew, with other letters: see `Facts.identity`.)
 * Nothing grows beyond 32 times what was sent and 4 MiB, and it is unpacked outside of this thread. Never throws.
 * Follows: `cms_to_token`, `pkiz_sign` of keystoneclient's common/cms.py.
 */
export async function derOf(raw: string): Promise<Uint8Array | undefined> {
  if (!isPacked(raw)) return exactly(raw.replaceAll('-', '/'), 'base64', (text) => text.replaceAll('/', '-') === raw);
  const packed = raw.slice(pkizPrefix.length);
  // Node writes base64url without padding; Python with it.
  const bytes = exactly(packed, 'base64url', (text) => text.padEnd(Math.ceil(text.length / 4) * 4, '=') === packed);
  const unpacked = bytes && (await unpackedBytes(bytes));
  if (unpacked === undefined || unpacked[0] === sequenceTag) return unpacked;
  const pem = unpacked.toString('latin1');
  if (!pem.startsWith(pemBegin) || !pem.endsWith(pemEnd)) return undefined;
  const body = pem.slice(pemBegin.length, -pemEnd.length).replaceAll('\n', '');
  return exactly(body, 'base64', (text) => text === body);
}

/** Node's decoders let pass what is not of their alphabet, so what they read is written again and compared. */
function exactly(text: string, encoding: 'base64' | 'base64url', isSame: (again: string) => boolean): Buffer | undefined {
  const bytes = Buffer.from(text, encoding);
  return bytes.length > 0 && isSame(bytes.toString(encoding)) ? bytes : undefined;
}

async function unpackedBytes(packed: Buffer): Promise<Buffer | undefined> {
  const maxOutputLength = Math.min(maxUnpackedBytes, Math.max(alwaysAllowedBytes, maxGrowth * packed.length));
  try {
    const { buffer, engine } = (await unpack(packed, { maxOutputLength, info: true })) as {
      readonly buffer: Buffer;
      readonly engine: { readonly bytesWritten: number };
    };
    // Whatever stands behind the stream would be another spelling.
    return engine.bytesWritten === packed.length ? buffer : undefined;
  } catch (_notPacked) {
    // No zlib stream, a broken one, or one that grows too much. Its message is about the token.
    return undefined;
  }
}
