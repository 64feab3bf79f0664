// What goes wrong with NATS, in words for people: ours, and without what a server sends along.

import { Late } from '../amqp/deadline.ts';
import { type ErrorCode, SidecarError } from '../core/errors.ts';

/** There is no log. The message says with whom and why. */
export function noLog(message: string, cause?: unknown, code: ErrorCode = 'UNAVAILABLE'): SidecarError {
  return new SidecarError(code, message, { reason: 'LOG_UNREACHABLE', cause });
}

/** By JetStream's `err_code`. */
const refusals: Readonly<Record<number, string>> = {
  10008: 'has no JetStream that is ready (10008): the cluster has no leader',
  10023: 'has no room left for the stream (10023)',
  10028: 'keeps less than the stream needs for this account (10028)',
  10039: 'has no JetStream for this account (10039)',
  10047: 'has not the storage that the stream needs (10047)',
  10052: 'cannot make the stream as it is configured (10052)',
  10058: 'has another stream of that name (10058)',
  10059: 'has no such stream (10059)',
  10060: 'has given the records to another stream (10060)',
  10065: 'has another stream with our subject (10065)',
  10074: 'is no cluster, and cannot keep more than one replica (10074)',
  10076: 'has no JetStream (10076)',
  10077: 'takes no more records (10077): the stream is full',
  10113: 'makes streams for this account only with a limit of bytes (10113): make it by hand',
};

const plain: Readonly<Record<string, string>> = {
  TimeoutError: 'gave no answer in time',
  JetStreamNotEnabled: 'has no JetStream, or none that is ready',
  AuthorizationError: 'refuses who we are: the credentials are wrong, or missing',
  UserAuthenticationExpiredError: 'refuses who we are: the credentials have expired',
  PermissionViolationError: 'refuses what we need: to publish the records, to ask JetStream and to get its answers',
};

const brokenTls = /^(?:ERR_TLS_|ERR_SSL_|ERR_OSSL_|CERT_|SELF_SIGNED|DEPTH_ZERO|UNABLE_TO|EPROTO)/;

/** `err_code` of what JetStream has refused; undefined: something else has failed. */
export function refusalOf(cause: unknown): number | undefined {
  return cause instanceof Error && 'apiError' in cause && 'code' in cause && typeof cause.code === 'number' ? cause.code : undefined;
}

/** `cause` as what `server` did. What is a SidecarError already stays as it is. */
export function natsErrorOf(server: string, cause: unknown): SidecarError {
  if (cause instanceof SidecarError) return cause;
  if (cause instanceof Late) return noLog(`${server} gave ${cause.message}`, cause);
  const refusal = refusalOf(cause);
  if (refusal !== undefined) return noLog(`${server} ${refusals[refusal] ?? `has refused (${refusal})`}`, cause);
  // What failed may lie in a general RequestError.
  for (let error = cause; error instanceof Error; error = error.cause) {
    const words = plain[error.name];
    if (words !== undefined) return noLog(`${server} ${words}`, cause);
    if (error.message === 'unexpected response from server') return noLog(`${server} does not speak NATS`, cause);
    if (error.message === `server does not support 'tls'`) return noLog(`${server} does not speak TLS`, cause);
    if ('code' in error && typeof error.code === 'string') {
      const what = brokenTls.test(error.code) ? 'cannot be trusted, or does not speak TLS' : 'cannot be reached';
      return noLog(`${server} ${what} (${error.code})`, cause);
    }
  }
  return noLog(`${server} closed the connection`, cause);
}
