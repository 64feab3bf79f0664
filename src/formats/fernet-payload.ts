// What is inside a Keystone Fernet token: one array in MessagePack, whose first number says what the others are.

import { Decoder } from '@msgpack/msgpack';
import { claimedScope, type KeystoneClaims, wholeSecondsMs } from './keystone-claims.ts';

/** All that a payload says; its issue is the envelope's. */
export type FernetClaims = Omit<KeystoneClaims, 'issuedAtMs'>;

/**
 * Texts as bytes: Keystones before MessagePack 1.0 wrote bytes in the form of texts, so the form tells nothing and the place all.
 * The limits are far beyond what Keystone writes: its tokens travel in headers.
 */
const decoder = new Decoder({ rawStrings: true, maxArrayLength: 4096, maxMapLength: 0, maxBinLength: 65_536, maxExtLength: 0 });

/** The fields behind the version and what each version calls them; `_`: not read. Follows: keystone/token/token_formatters.py. */
const layouts: Readonly<Record<number, readonly Field[]>> = {
  0: ['user', '_', 'expires', 'audits'],
  1: ['user', '_', 'domain', 'expires', 'audits'],
  2: ['user', '_', 'project', 'expires', 'audits'],
  3: ['user', '_', 'project', 'expires', 'audits', 'trust'],
  4: ['user', '_', 'groups', 'idp', '_', 'expires', 'audits'],
  5: ['user', '_', 'project', 'groups', 'idp', '_', 'expires', 'audits'],
  6: ['user', '_', 'domain', 'groups', 'idp', '_', 'expires', 'audits'],
  7: ['user', '_', 'project', 'accessToken', 'expires', 'audits'],
  8: ['user', '_', 'system', 'expires', 'audits'],
  9: ['user', '_', 'project', 'expires', 'audits', 'applicationCredential'],
  10: ['user', '_', 'project', 'domain', 'expires', 'audits', '_'],
};

type Field =
  | 'user'
  | 'project'
  | 'domain'
  | 'system'
  | 'trust'
  | 'groups'
  | 'idp'
  | 'accessToken'
  | 'applicationCredential'
  | 'expires'
  | 'audits'
  | '_';

/** The claims of a payload; undefined where it has none that can be read: of a version that is not known here, or not Keystone's. */
export function readFernetPayload(payload: Uint8Array): FernetClaims | undefined {
  const values = arrayIn(payload);
  const [version, ...fields] = values ?? [];
  const layout = typeof version === 'number' ? layouts[version] : undefined;
  if (!layout || fields.length < layout.length) return undefined;
  const has = (name: Field): boolean => layout.includes(name);
  const value = (name: Field): unknown => fields[layout.indexOf(name)];
  const id = (name: Field): string | undefined => (has(name) ? idOf(value(name)) : undefined);

  const userId = id('user');
  const expiresAtMs = wholeSecondsMs(value('expires'));
  const [own, ...root] = listOf(value('audits'), auditIdOf) ?? [];
  const scope = claimedScope({ projectId: id('project'), domainId: id('domain'), isSystem: has('system') });
  const groupIds = has('groups') ? listOf(value('groups'), idOf) : undefined;
  const identityProviderId = id('idp');
  if (userId === undefined || expiresAtMs === undefined || own === undefined) return undefined;
  // What its version says is there must be there. An OAuth2 token (10) is of a project or of a domain, and has a place for both.
  if (version !== 10 && layout.some((name) => isId(name) && id(name) === undefined)) return undefined;
  if (has('groups') && groupIds === undefined) return undefined;
  return {
    userId,
    scope,
    auditIds: [own, ...root],
    expiresAtMs,
    trustId: id('trust'),
    ...(identityProviderId !== undefined && groupIds && { federation: { identityProviderId, groupIds } }),
    accessTokenId: id('accessToken'),
    applicationCredentialId: id('applicationCredential'),
  };
}

function arrayIn(payload: Uint8Array): readonly unknown[] | undefined {
  try {
    const value = decoder.decode(payload);
    return Array.isArray(value) ? value : undefined;
  } catch (_notMessagePack) {
    // What it complains of would quote the token.
    return undefined;
  }
}

function isId(name: Field): boolean {
  return !['groups', 'expires', 'audits', 'system', '_'].includes(name);
}

/**
 * An id: `[true, 16 bytes]` of a UUID, `[false, text]` of any other; a domain, a trust or an id of an old Keystone stands alone, where
 * 16 bytes are a UUID and everything else a text.
 */
function idOf(value: unknown): string | undefined {
  if (!Array.isArray(value)) return value instanceof Uint8Array && value.length === 16 ? hexOf(value) : textOf(value);
  const [isUuid, id] = value as readonly unknown[];
  if (isUuid === true) return id instanceof Uint8Array && id.length === 16 ? hexOf(id) : undefined;
  return isUuid === false ? textOf(id) : undefined;
}

function hexOf(uuid: Uint8Array): string {
  return bufferOf(uuid).toString('hex');
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

function textOf(value: unknown): string | undefined {
  if (!(value instanceof Uint8Array) || value.length === 0) return undefined;
  try {
    return utf8.decode(value);
  } catch (_notUtf8) {
    return undefined;
  }
}

function auditIdOf(value: unknown): string | undefined {
  return value instanceof Uint8Array && value.length > 0 ? bufferOf(value).toString('base64url') : undefined;
}

/** All of them or none. */
function listOf(value: unknown, itemOf: (item: unknown) => string | undefined): readonly string[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const items = value.map(itemOf);
  return items.every((item) => item !== undefined) ? items : undefined;
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
