// OAuth 1.0a as Keystone speaks it: signed requests, the three-legged exchange for an access token, and a login with one.
import { createHmac, randomUUID } from 'node:crypto';
import { keystoneRequest } from './keystone-api.ts';

/** An identifier with the secret that signs for it. */
export interface OAuth1Pair {
  readonly id: string;
  readonly secret: string;
}

/** What lets a consumer act for a user. */
export interface OAuth1Access {
  readonly consumer: OAuth1Pair;
  readonly access: OAuth1Pair;
}

interface Signed {
  readonly consumer: OAuth1Pair;
  readonly token?: OAuth1Pair;
  readonly verifier?: string;
}

/** The `Authorization` header of a POST to `url` (RFC 5849 §3.4, HMAC-SHA1). */
function authorization(url: string, { consumer, token, verifier }: Signed): string {
  const parameters: Readonly<Record<string, string>> = {
    oauth_consumer_key: consumer.id,
    oauth_nonce: randomUUID().replaceAll('-', ''),
    oauth_signature_method: 'HMAC-SHA1',
    oauth_timestamp: String(Math.floor(Date.now() / 1000)),
    ...(token && { oauth_token: token.id }),
    ...(verifier === undefined ? {} : { oauth_verifier: verifier }),
    oauth_version: '1.0',
    // What asks for a request token says where it wants to be called back: Keystone calls nobody.
    ...(token === undefined && { oauth_callback: 'oob' }),
  };
  const sorted = Object.entries(parameters)
    .map(([name, value]) => `${encoded(name)}=${encoded(value)}`)
    .sort()
    .join('&');
  const base = ['POST', url, sorted].map(encoded).join('&');
  const key = `${encoded(consumer.secret)}&${encoded(token?.secret ?? '')}`;
  const signature = createHmac('sha1', key).update(base).digest('base64');
  const all = Object.entries({ ...parameters, oauth_signature: signature });
  return `OAuth ${all.map(([name, value]) => `${name}="${encoded(value)}"`).join(', ')}`;
}

/** Lets `consumer` act for the user of `userToken` with role `roleId` on `projectId`. */
export async function authorizeConsumer(
  url: string,
  consumer: OAuth1Pair,
  { userToken, projectId, roleId }: { readonly userToken: string; readonly projectId: string; readonly roleId: string },
): Promise<OAuth1Access> {
  const request = await pairFrom(url, '/OS-OAUTH1/request_token', { consumer }, { 'requested-project-id': projectId });
  const body = { roles: [{ id: roleId }] };
  const reply = await keystoneRequest(url, 'PUT', `/OS-OAUTH1/authorize/${request.id}`, { token: userToken, body });
  const { token } = reply.body as { readonly token?: { readonly oauth_verifier: string } };
  if (token === undefined) throw new Error(`authorizing a consumer -> ${reply.status} ${JSON.stringify(reply.body)}`);
  const signed = { consumer, token: request, verifier: token.oauth_verifier };
  return { consumer, access: await pairFrom(url, '/OS-OAUTH1/access_token', signed, {}) };
}

/** A token of Keystone for what the access token stands for. */
export async function oauth1Login(url: string, { consumer, access }: OAuth1Access): Promise<string> {
  const headers = { authorization: authorization(`${url}/auth/tokens`, { consumer, token: access }) };
  const body = { auth: { identity: { methods: ['oauth1'], oauth1: {} } } };
  const reply = await keystoneRequest(url, 'POST', '/auth/tokens', { headers, body });
  if (reply.status !== 201 || reply.subjectToken === undefined) throw new Error(`oauth1 -> ${reply.status} ${JSON.stringify(reply.body)}`);
  return reply.subjectToken;
}

async function pairFrom(url: string, path: string, signed: Signed, more: Readonly<Record<string, string>>): Promise<OAuth1Pair> {
  const headers = { ...more, authorization: authorization(`${url}${path}`, signed) };
  const reply = await keystoneRequest(url, 'POST', path, { headers });
  const form = new URLSearchParams(String(reply.body));
  const [id, secret] = [form.get('oauth_token'), form.get('oauth_token_secret')];
  if (id === null || secret === null) throw new Error(`${path} -> ${reply.status} ${JSON.stringify(reply.body)}`);
  return { id, secret };
}

// RFC 5849 §3.6.
function encoded(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
}
