// Who a caller is, and what it may do: the union of the lines of the configuration that fit it.

import { SidecarError } from '../core/errors.ts';
import type { Validator } from './validator.ts';

/** What may be allowed. Revoke by possession needs no line. */
export type Act = 'validate' | 'watch' | 'status' | 'revoke' | 'refresh' | 'find' | 'details';

/** One line of the configuration. */
export interface CallerLine {
  readonly who:
    | { readonly kind: 'local' }
    | { readonly kind: 'socket' }
    | { readonly kind: 'token-role'; readonly role: string; readonly issuer: string };
  readonly may: readonly Act[];
}

/** How a call came. */
export interface Caller {
  readonly listener: 'socket' | 'tcp';
  /** A bearer token in the call's metadata; it is the caller's, not the one in question. */
  readonly bearer: string | undefined;
}

/** Who it was, for the audit and the entry. */
export interface Actor {
  /** For people: with the fingerprint of the token it came with. */
  readonly name: string;
  /** The same whatever token it comes with: what retries are told apart by (S14). */
  readonly id: string;
}

/** How old the facts of a caller's own token may be. */
const callerStalenessMs = 5000;

/** Judges callers. */
export class Callers {
  readonly #lines: readonly CallerLine[];
  readonly #validator: Validator;
  readonly #anyone: ReadonlySet<Act>;
  readonly #onSocket: ReadonlySet<Act>;

  constructor(lines: readonly CallerLine[], validator: Validator) {
    this.#lines = lines;
    this.#validator = validator;
    const acts = (kinds: readonly string[]): ReadonlySet<Act> =>
      new Set(lines.filter((line) => kinds.includes(line.who.kind)).flatMap((line) => line.may));
    this.#anyone = acts(['local']);
    this.#onSocket = acts(['local', 'socket']);
  }

  /** Whether the listener alone allows it: the answer for nearly every call, without a promise. */
  allowsAnyone(listener: Caller['listener'], act: Act): boolean {
    return (listener === 'socket' ? this.#onSocket : this.#anyone).has(act);
  }

  /** Who acts where no permission is needed. A bearer token is named only where it was judged. */
  static nameOf(listener: Caller['listener']): string {
    return listener === 'socket' ? 'socket' : 'loopback';
  }

  /**
   * Who it is, if it may. The bearer token must itself validate, on facts of the last 5 s, with a role that a line names.
   * Throws UNAUTHENTICATED where there is no identity that could be allowed, PERMISSION_DENIED where there is one that is not,
   * and whatever Validate throws where the caller's own token cannot be judged.
   */
  async authorise(caller: Caller, act: Act, signal: AbortSignal): Promise<Actor> {
    if (caller.bearer === undefined) {
      if (this.allowsAnyone(caller.listener, act)) {
        const name = Callers.nameOf(caller.listener);
        return { name, id: name };
      }
      throw new SidecarError('UNAUTHENTICATED', `who may ${act} needs an identity: call through the socket, or send a bearer token`, {
        reason: 'CALLER_UNKNOWN',
      });
    }
    const answer = await this.#validator.validate({ raw: caller.bearer, maxStalenessMs: callerStalenessMs }, () => signal);
    if (!answer.decision.active || !answer.known) {
      throw new SidecarError('UNAUTHENTICATED', 'the caller’s own token is not active', { reason: 'CALLER_TOKEN_INACTIVE' });
    }
    const { known } = answer;
    const token = known.token();
    const who = token.user?.id ?? token.clientId ?? known.fingerprint;
    const name = `${token.user?.name ?? who}@${known.issuer.name} (${known.fingerprint})`;
    const allowed =
      this.allowsAnyone(caller.listener, act) ||
      this.#lines.some(
        ({ who, may }) =>
          who.kind === 'token-role' &&
          may.includes(act) &&
          who.issuer === known.issuer.name &&
          token.roles.some((role) => role.name === who.role),
      );
    if (!allowed) throw new SidecarError('PERMISSION_DENIED', `${name} may not ${act}`, { reason: 'CALLER_NOT_ALLOWED' });
    return { name, id: `${known.issuer.name} ${who}` };
  }
}
