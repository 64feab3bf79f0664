// Selectors: the wire's fields, the core's conditions, and what may stand together (S3).

import type { Dimension } from '../core/attributes.ts';
import { SidecarError } from '../core/errors.ts';
import type { Condition, Selector } from '../core/selector.ts';
import type { Selector as SelectorMessage } from '../gen/sidegate/v1/token_service.ts';

/** The longest value of a selector, in characters: longer than any id of a known issuer. */
export const maxSelectorValueLength = 1024;

/** A selector as people write it: the fields of the API's Selector. Absent and empty are the same. */
export interface SelectorFields {
  readonly issuer?: string;
  readonly fingerprint?: string;
  /** `jti`. */
  readonly tokenId?: string;
  readonly auditId?: string;
  readonly auditChainId?: string;
  readonly sessionId?: string;
  /** As user, trustor or trustee. */
  readonly userId?: string;
  readonly projectId?: string;
  /** Of users of this domain, or scoped to it. */
  readonly domainId?: string;
  readonly roleId?: string;
  readonly trustId?: string;
  readonly applicationCredentialId?: string;
  readonly clientId?: string;
  readonly accessTokenId?: string;
  /** The key that signed. */
  readonly keyId?: string;
  /** All tokens, of `issuer` if set. Stands alone. */
  readonly everything?: boolean;
  readonly userDomainId?: string;
  readonly scopeDomainId?: string;
  readonly projectDomainId?: string;
  /** `unscoped`, `project`, `domain` or `system`. */
  readonly scopeKind?: string;
  readonly identityProviderId?: string;
  readonly groupId?: string;
  /** The service catalogs of `issuer`, and no token: only for a refresh. Stands alone, or with an issuer. */
  readonly catalog?: boolean;
}

type ConditionField = Exclude<keyof SelectorFields, 'everything' | 'issuer' | 'catalog'>;

const dimensionOf: { readonly [field in ConditionField]: Dimension } = {
  fingerprint: 'fingerprint',
  tokenId: 'identity',
  auditId: 'identity',
  auditChainId: 'chain',
  sessionId: 'session',
  userId: 'user',
  projectId: 'project',
  domainId: 'domain',
  roleId: 'role',
  trustId: 'trust',
  applicationCredentialId: 'application_credential',
  clientId: 'client',
  accessTokenId: 'access_token',
  keyId: 'signing_key',
  userDomainId: 'user_domain',
  scopeDomainId: 'scope_domain',
  projectDomainId: 'project_domain',
  scopeKind: 'scope_kind',
  identityProviderId: 'idp',
  groupId: 'group',
};
const conditionFields = Object.keys(dimensionOf) as ConditionField[];

/** All catalogs of an issuer have it, and nothing else has. */
const ofCatalogs: Condition = { dimension: 'catalog', value: 'catalog' };

/** S3: any fields may stand together, but forms that are not indexed are scanned, and each condition doubles the sets of tags of an event. */
export const maxConditions = 4;
const scopeKinds: ReadonlySet<string> = new Set(['unscoped', 'project', 'domain', 'system']);

/**
 * What a caller's selector means.
 * Throws INVALID_ARGUMENT with SELECTOR_UNKNOWN_FIELD, SELECTOR_EMPTY (also an issuer alone: everything is said aloud),
 * SELECTOR_EVERYTHING_WITH_MORE, SELECTOR_VALUE (too long, or no kind of scope) or SELECTOR_FORM (too many conditions, one dimension twice, or
 * catalogs and something else).
 */
export function selectorFromMessage(message: SelectorMessage): Selector {
  for (const tag in message._unknownFields) {
    throw refused('SELECTOR_UNKNOWN_FIELD', `the selector has an unknown field, number ${Number(tag) >>> 3}`);
  }
  const issuer = message.issuer === '' ? {} : { issuer: checked('issuer', message.issuer) };
  const conditions: Condition[] = [];
  for (const field of conditionFields) {
    if (message[field] !== '') conditions.push({ dimension: dimensionOf[field], value: checked(field, message[field]) });
  }
  if (message.everything) {
    if (conditions.length > 0 || message.catalog) {
      throw refused('SELECTOR_EVERYTHING_WITH_MORE', 'everything stands alone, or with an issuer');
    }
    return { kind: 'everything', ...issuer };
  }
  if (message.catalog) {
    if (conditions.length > 0) throw refused('SELECTOR_FORM', 'catalog stands alone, or with an issuer: it concerns no token');
    return { kind: 'fit', ...issuer, conditions: [ofCatalogs] };
  }
  if (conditions.length === 0) throw refused('SELECTOR_EMPTY', 'the selector names nothing; everything must be said aloud');
  if (conditions.length > maxConditions) throw refused('SELECTOR_FORM', `a selector has at most ${maxConditions} conditions`);
  if (new Set(conditions.map((condition) => condition.dimension)).size < conditions.length) {
    throw refused('SELECTOR_FORM', 'token_id and audit_id are two names of one thing: only one of them may be set');
  }
  return { kind: 'fit', ...issuer, conditions };
}

/**
 * For the wire. An identity comes out as `token_id`: whether its issuer calls it a token id or an audit id, the core does not know,
 * and either reads back as the same condition.
 */
export function selectorToMessage(selector: Selector): SelectorMessage {
  const message = emptySelector();
  if (selector.issuer !== undefined) message.issuer = selector.issuer;
  if (selector.kind === 'everything') return { ...message, everything: true };
  for (const { dimension, value } of selector.conditions) {
    if (dimension === 'everything') message.everything = true;
    else if (dimension === 'catalog') message.catalog = true;
    else if (dimension === 'issuer') message.issuer = value;
    else {
      const field = conditionFields.find((candidate) => dimensionOf[candidate] === dimension);
      if (field !== undefined) message[field] = value;
    }
  }
  return message;
}

/** The fields that are set. Judges nothing: that is the sidecar's task. */
export function selectorFieldsFromMessage(message: SelectorMessage): SelectorFields {
  const fields: { -readonly [field in keyof SelectorFields]: SelectorFields[field] } = {};
  if (message.issuer !== '') fields.issuer = message.issuer;
  for (const field of conditionFields) if (message[field] !== '') fields[field] = message[field];
  if (message.everything) fields.everything = true;
  if (message.catalog) fields.catalog = true;
  return fields;
}

/** For the wire. Judges nothing. */
export function selectorFieldsToMessage(fields: SelectorFields): SelectorMessage {
  const message = emptySelector();
  message.issuer = fields.issuer ?? '';
  for (const field of conditionFields) message[field] = fields[field] ?? '';
  message.everything = fields.everything ?? false;
  message.catalog = fields.catalog ?? false;
  return message;
}

function checked(field: ConditionField | 'issuer', value: string): string {
  if (value.length > maxSelectorValueLength) {
    throw refused('SELECTOR_VALUE', `${field} is longer than ${maxSelectorValueLength} characters`);
  }
  if (field === 'scopeKind' && !scopeKinds.has(value)) {
    throw refused('SELECTOR_VALUE', 'scope_kind is one of unscoped, project, domain, system');
  }
  return value;
}

function refused(reason: string, message: string): SidecarError {
  return new SidecarError('INVALID_ARGUMENT', message, { reason });
}

function emptySelector(): SelectorMessage {
  return {
    issuer: '',
    fingerprint: '',
    tokenId: '',
    auditId: '',
    auditChainId: '',
    sessionId: '',
    userId: '',
    projectId: '',
    domainId: '',
    roleId: '',
    trustId: '',
    applicationCredentialId: '',
    clientId: '',
    accessTokenId: '',
    keyId: '',
    everything: false,
    userDomainId: '',
    scopeDomainId: '',
    projectDomainId: '',
    scopeKind: '',
    identityProviderId: '',
    groupId: '',
    catalog: false,
  };
}
