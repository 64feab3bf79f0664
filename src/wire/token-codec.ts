// Facts as bytes: the Token message itself, so that a cached token is copied into an answer as it is.

import type { Token } from '../core/token.ts';
import { Token as TokenMessage } from '../gen/sidegate/v1/token_service.ts';
import { tokenFromMessage, tokenToMessage } from './token.ts';

/** Without the claims. What was encoded decodes to the same facts. */
export const tokenCodec: { encode(token: Token): Uint8Array; decode(bytes: Uint8Array): Token } = {
  encode: (token) => TokenMessage.encode(tokenToMessage(token, { claims: false })).finish(),
  decode: (bytes) => tokenFromMessage(TokenMessage.decode(bytes)),
};
