// What goes wrong with RabbitMQ, in words for people: ours, and without what a broker sends along.

import { Late } from './deadline.ts';

/** It did not work. The message says with whom and why. */
export class AmqpError extends Error {
  override readonly name = 'AmqpError';
  /** AMQP's own number, where the broker said one: 403 refused, 404 there is none, 406 there is another one. */
  readonly replyCode: number | undefined;

  constructor(message: string, facts: { readonly replyCode?: number | undefined; readonly cause?: unknown } = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.replyCode = facts.replyCode;
  }
}

const replies: Readonly<Record<number, string>> = {
  320: 'was told to close the connection (320)',
  403: 'refuses access (403)',
  404: 'knows no such exchange or queue (404)',
  405: 'says that somebody else holds it (405)',
  406: 'has one of that name that was made otherwise (406)',
  530: 'refuses it (530)',
};

/** `cause` as what `server` did. What is an AmqpError already stays as it is. */
export function amqpErrorOf(server: string, cause: unknown): AmqpError {
  if (cause instanceof AmqpError) return cause;
  if (cause instanceof Late) return new AmqpError(`${server} gave ${cause.message}`, { cause });
  const text = cause instanceof Error ? cause.message : '';
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  if (code === 541 && text.includes('feature flag is disabled')) {
    return new AmqpError(`${server} has no queues of that type: their feature flag is disabled (541)`, { replyCode: 541, cause });
  }
  if (typeof code === 'number') return new AmqpError(`${server} ${replies[code] ?? `failed (${code})`}`, { replyCode: code, cause });
  // During the handshake amqplib tells in words alone.
  if (text.includes('ACCESS_REFUSED')) return new AmqpError(`${server} refuses the user or the password (403)`, { replyCode: 403, cause });
  if (text.startsWith('Expected ConnectionOpenOk')) {
    return new AmqpError(`${server} has no such vhost, or the user may not enter it (530)`, { replyCode: 530, cause });
  }
  if (text === 'Heartbeat timeout') return new AmqpError(`${server} has given no sign of life`, { cause });
  if (typeof code !== 'string') return new AmqpError(`${server} closed the connection`, { cause });
  const isTls = /^(?:ERR_TLS_|ERR_SSL_|ERR_OSSL_|CERT_|SELF_SIGNED|DEPTH_ZERO|UNABLE_TO|EPROTO)/.test(code);
  return new AmqpError(`${server} ${isTls ? 'cannot be trusted, or does not speak TLS' : 'cannot be reached'} (${code})`, { cause });
}
