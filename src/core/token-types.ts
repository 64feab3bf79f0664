// What a signed token says it is, and what never passes for an access token: the one list of it.

/** Kinds of JWTs that are no access tokens, in their plain form (RFC 8417, OpenID Connect Back-Channel Logout §2.4, RFC 9449). */
export const foreignTokenTypes: readonly string[] = ['secevent+jwt', 'logout+jwt', 'dpop+jwt'];

/** A `typ` as it is compared: in lower case and, where no other slash is in it, without `application/`. Follows: RFC 7515 §4.1.9. */
export function plainTokenType(written: string): string {
  return written.toLowerCase().replace(/^application\/(?=[^/]*$)/, '');
}

/** May tokens with this `typ` be taken for access tokens, however it is written? Not where nothing is left of it. */
export function isAccessTokenType(written: string): boolean {
  const plain = plainTokenType(written);
  return plain !== '' && !foreignTokenTypes.includes(plain);
}
