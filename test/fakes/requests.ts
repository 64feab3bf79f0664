// Requests as tests write them: a token or a cursor, where the API has a choice of one.

import type { Cursor } from '../../src/gen/sidegate/v1/token_service.ts';
import { ValidateRequest, WatchRequest } from '../../src/gen/sidegate/v1/token_service.ts';

type Rest<Message> = Message extends infer Fields ? Omit<Fields, 'credential' | 'start'> : never;

/** The fields of a ValidateRequest, the token without its `oneof`. */
export type Question = Rest<NonNullable<Parameters<typeof ValidateRequest.fromPartial>[0]>> & { readonly token?: string | undefined };

/** The fields of a WatchRequest, the cursor without its `oneof`. */
export type Subscription = Rest<NonNullable<Parameters<typeof WatchRequest.fromPartial>[0]>> & {
  readonly after?: Cursor | undefined;
  readonly snapshot?: true;
};

export function validateRequestOf({ token, ...rest }: Question): ValidateRequest {
  return ValidateRequest.fromPartial({ ...rest, ...(token === undefined ? {} : { credential: { $case: 'token', value: token } }) });
}

export function watchRequestOf({ after, snapshot, ...rest }: Subscription): WatchRequest {
  const start = after === undefined ? snapshot && { $case: 'snapshot' as const, value: true } : { $case: 'after' as const, value: after };
  return WatchRequest.fromPartial({ ...rest, ...(start === undefined ? {} : { start }) });
}
