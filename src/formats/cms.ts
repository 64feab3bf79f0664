// A signed CMS (RFC 5652) of the one form that Keystone's tokens have: what it says, before any of it is believed.

import type { BaseBlock } from 'asn1js';

/** What a CMS says of itself. Nothing is verified. */
export interface SignedContent {
  readonly content: Uint8Array;
  /** Its only signer's certificate as it names it: the DER of issuer and serial number. */
  readonly signedBy: Uint8Array;
  /** Undefined: none of those that are accepted. */
  readonly algorithm: SignatureAlgorithm | undefined;
  readonly signature: Uint8Array;
}

/** How a content may be signed. */
export interface SignatureAlgorithm {
  readonly keyKind: 'rsa' | 'ec';
  readonly digest: 'sha256' | 'sha384' | 'sha512';
}

// DER in hex. RFC 5754 §2: parameters are absent, as openssl writes them, or NULL. SHA-1 is none of them: who can choose a part of a
// token's body (a name) may prepare two bodies of one SHA-1.
const digests: Readonly<Record<string, SignatureAlgorithm['digest']>> = {
  '300b0609608648016503040201': 'sha256',
  '300d06096086480165030402010500': 'sha256',
  '300b0609608648016503040202': 'sha384',
  '300d06096086480165030402020500': 'sha384',
  '300b0609608648016503040203': 'sha512',
  '300d06096086480165030402030500': 'sha512',
};
const rsaEncryption = '300d06092a864886f70d0101010500';
// Each with the one digest that its name has (RFC 5753 §7.1.3).
const ecdsaWith: Readonly<Record<string, SignatureAlgorithm['digest']>> = {
  '300a06082a8648ce3d040302': 'sha256',
  '300a06082a8648ce3d040303': 'sha384',
  '300a06082a8648ce3d040304': 'sha512',
};

const signedData = der(0x06, Buffer.from('2a864886f70d010702', 'hex'));
const data = der(0x06, Buffer.from('2a864886f70d010701', 'hex'));
const one = der(0x02, Buffer.from([1]));

/** A real one has some thirty elements, and is ten deep. Its content is not looked into. */
const limits = { maxNodes: 128, maxDepth: 16, parseEmbedded: false, copyInput: false };

/**
 * What `bytes` say; undefined where they are anything else than `openssl cms -sign -nodetach -nocerts -noattr` writes: DER, version 1,
 * one digest algorithm, a content of kind data, no certificates or lists of revoked ones, one signer, told by issuer and serial number,
 * without attributes, signed or not. Of one content, signer, algorithm and signature there is one such spelling: all that a CMS may
 * carry beside is unsigned, and would be another token to whoever compares strings (CVE-2015-7546). Never throws.
 * Cost: one pass; `asn1js` is loaded at the first call.
 */
export async function readCms(bytes: Uint8Array): Promise<SignedContent | undefined> {
  const { Constructed, fromBER, OctetString } = await import('asn1js');
  const at = (block: BaseBlock | undefined, ...path: readonly number[]): BaseBlock | undefined =>
    path.reduce<BaseBlock | undefined>(
      (found, index) => (found instanceof Constructed ? (found.valueBlock.value[index] as BaseBlock | undefined) : undefined),
      block,
    );
  const octets = (block: BaseBlock | undefined): Uint8Array | undefined =>
    block instanceof OctetString ? block.valueBlock.valueHexView : undefined;

  // ContentInfo { type, [0] SignedData { version, digests, { type, [0] content }, signers { version, sid, digest, signing, signature } } }
  const signed = at(
    blocksOf(() => fromBER(bytes, limits).result),
    1,
    0,
  );
  const content = octets(at(signed, 2, 1, 0));
  const [, signedBy, digest, signing] = [0, 1, 2, 3].map((part) => at(signed, 3, 0, part)?.valueBeforeDecodeView);
  const signature = octets(at(signed, 3, 0, 4));
  if (content === undefined || signedBy === undefined || digest === undefined || signing === undefined || signature === undefined) {
    return undefined;
  }
  // The parser reads BER, and what stands between the parts has not been looked at: written again from them it must be the same.
  const signer = der(0x30, one, signedBy, digest, signing, der(0x04, signature));
  const encapsulated = der(0x30, data, der(0xa0, der(0x04, content)));
  const again = der(0x30, signedData, der(0xa0, der(0x30, one, der(0x31, digest), encapsulated, der(0x31, signer))));
  return again.equals(bytes) ? { content, signedBy, algorithm: algorithmOf(digest, signing), signature } : undefined;
}

function blocksOf(parse: () => BaseBlock): BaseBlock | undefined {
  try {
    return parse();
  } catch (_notReadable) {
    // For most of what it cannot read asn1js has a result that says so; for times that are none it throws.
    return undefined;
  }
}

function algorithmOf(digestDer: Uint8Array, signingDer: Uint8Array): SignatureAlgorithm | undefined {
  const digest = digests[hexOf(digestDer)];
  const signing = hexOf(signingDer);
  if (digest === undefined) return undefined;
  if (signing === rsaEncryption) return { keyKind: 'rsa', digest };
  return ecdsaWith[signing] === digest ? { keyKind: 'ec', digest } : undefined;
}

/** One DER element: its tag, the shortest length that there is, its content. */
function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const octets: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) octets.unshift(rest % 256);
  const head = length < 128 ? [tag, length] : [tag, 0x80 | octets.length, ...octets];
  return Buffer.concat([Buffer.from(head), ...parts]);
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
