// The options that say which tokens: one for each field of a selector.

import { type Command, InvalidArgumentError, Option } from 'commander';
import type { SelectorFields } from '../client/index.ts';

type IdField = Exclude<keyof SelectorFields, 'everything' | 'catalog'>;

const flags: { readonly [field in IdField]: readonly [name: string, what: string] } = {
  userId: ['user', 'of this user: as user, trustor or trustee'],
  projectId: ['project', 'on this project'],
  domainId: ['domain', 'of users of this domain, or scoped to it'],
  roleId: ['role-id', 'with this role'],
  groupId: ['group', 'of members of this group, as far as facts tell'],
  sessionId: ['session', 'of this login session (sid)'],
  clientId: ['client', 'issued to this client or consumer'],
  tokenId: ['token-id', 'with this id (jti; of a PKI token, its SHA-256 or MD5)'],
  auditId: ['audit-id', 'with this audit id'],
  auditChainId: ['audit-chain', 'of this chain of tokens'],
  fingerprint: ['fingerprint', 'with this fingerprint'],
  trustId: ['trust', 'resting on this trust'],
  applicationCredentialId: ['app-credential', 'obtained with this application credential'],
  accessTokenId: ['access-token-id', 'obtained with this OAuth1 access token'],
  keyId: ['key', 'signed by this key'],
  userDomainId: ['user-domain', 'of users of this domain'],
  scopeDomainId: ['scope-domain', 'scoped to this domain'],
  projectDomainId: ['project-domain', 'on projects of this domain'],
  scopeKind: ['scope-kind', 'of this kind of scope'],
  identityProviderId: ['idp', 'of users of this identity provider'],
  issuer: ['issuer', 'only of this issuer (a name of the configuration)'],
};
const fields = Object.keys(flags) as IdField[];

/** Adds them all. */
export function selectorOptions(command: Command): Command {
  for (const field of fields) {
    const [name, what] = flags[field];
    const option = new Option(`--${name} <${field === 'scopeKind' ? 'kind' : field === 'issuer' ? 'name' : 'id'}>`, what);
    command.addOption(field === 'scopeKind' ? option.choices(['unscoped', 'project', 'domain', 'system']) : option.argParser(parseId));
  }
  return command.option('--everything', 'all tokens; with --issuer all of it');
}

/** The selector that was written; undefined where none was, an issuer alone included: that is none yet. */
export function selectorOf(options: Readonly<Record<string, unknown>>): SelectorFields | undefined {
  const selector: { -readonly [field in keyof SelectorFields]: SelectorFields[field] } = {};
  for (const field of fields) {
    const value = options[camelCase(flags[field][0])];
    if (typeof value === 'string') selector[field] = value;
  }
  if (options['everything'] === true) selector.everything = true;
  if (options['catalog'] === true) selector.catalog = true;
  const { issuer, ...conditions } = selector;
  void issuer;
  return Object.keys(conditions).length === 0 ? undefined : selector;
}

/** An id or a name. Throws where it is empty: a variable of the shell that is not set must not widen what is meant. */
export function parseId(text: string): string {
  if (text.trim() !== '') return text;
  throw new InvalidArgumentError('It is empty.');
}

/** As `parseId`, for an option that may be given several times. */
export function parseIds(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, parseId(text)];
}

function camelCase(name: string): string {
  return name.replaceAll(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
}
