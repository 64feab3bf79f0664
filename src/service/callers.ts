// Who a caller is, and what it may do: the union of the lines of the configuration that fit it.

import { SidecarError } from '../core/errors.ts';
import type { Validator } from './validator.ts';

/** What may be allowed. Revoke by possession needs no line. */
export type Act = 'validate' | 'watch' | 'status' | 'revoke' | 'refresh' | 'find' | 'details' | 'fleet';

/** One line of the configuration. */
export interface CallerLine {
  readonly who:
    | { readonly kind: 'local' }
    | { readonly kind: 'socket' }
    | { readonly kind: 'token-role'; readonly role: string; readonly issuer: string }
    | { readonly kind: 'spiffe-id'; readonly id: string }
    /** In lower case. */
    | { readonly kind: 'certificate-name'; readonly name: string };
  readonly may: readonly Act[];
}

/** Who is at the other end of a connection with mutual TLS, by a certificate that was verified. One object a connection. */
export interface Peer {
  /** Undefined: it has none, or is not its only URI. */
  readonly spiffeId: string | undefined;
  /** In lower case, without wildcards. */
  readonly dnsNames: readonly string[];
  /** What it is called: the SPIFFE ID, else the first of its DNS names, else its certificate's fingerprint. Never as a listener is. */
  readonly name: string;
  /** The end of its certificate, exclusive. */
  readonly validUntilMs: number;
}

/** How a call came. */
export interface Caller {
  readonly listener: 'socket' | 'tcp' | 'remote';
  /** Of `remote` alone. */
  readonly peer: Peer | undefined;
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
  readonly #nowMs: () => number;
  readonly #onLoopback: ReadonlySet<Act>;
  readonly #onSocket: ReadonlySet<Act>;
  /** A connection brings many calls, and the lines never change. */
  readonly #ofPeers = new WeakMap<Peer, ReadonlySet<Act>>();

  /** `nowMs`: the wall clock, by which certificates end. */
  constructor(lines: readonly CallerLine[], validator: Validator, nowMs: () => number) {
    this.#lines = lines;
    this.#validator = validator;
    this.#nowMs = nowMs;
    this.#onLoopback = this.#acts((who) => who.kind === 'local');
    this.#onSocket = this.#acts((who) => who.kind === 'local' || who.kind === 'socket');
  }

  /** Whether it may by how it came, without a look at its token: the answer for nearly every call, without a promise. */
  allows(caller: Pick<Caller, 'listener' | 'peer'>, act: Act): boolean {
    if (caller.listener === 'socket') return this.#onSocket.has(act);
    if (caller.listener === 'tcp') return this.#onLoopback.has(act);
    const { peer } = caller;
    return peer !== undefined && !this.#hasEnded(peer) && this.#allowedTo(peer).has(act);
  }

  /** Who it is by how it came. A bearer token is named only where it was judged. */
  static actorOf({ listener, peer }: Pick<Caller, 'listener' | 'peer'>): Actor {
    if (listener !== 'remote') {
      const name = listener === 'socket' ? 'socket' : 'loopback';
      return { name, id: name };
    }
    const name = peer?.name ?? 'remote';
    // Neither a listener nor whom a bearer token speaks for has an id like this: no issuer is called so.
    return { name, id: `remote: ${name}` };
  }

  /**
   * That a connection has not outlived its certificate. Throws UNAVAILABLE / CERTIFICATE_EXPIRED: it is the connection that is over, and who
   * has renewed his certificate is to come again, a watcher too.
   */
  requireCurrent({ peer }: Pick<Caller, 'peer'>): void {
    if (peer && this.#hasEnded(peer)) {
      throw new SidecarError('UNAVAILABLE', 'the certificate of this connection has ended: connect with a new one', {
        reason: 'CERTIFICATE_EXPIRED',
        retryAfterMs: 1000,
      });
    }
  }

  /**
   * Who it is, if it may. The bearer token must itself validate, on facts of the last 5 s, with a role that a line names.
   * Throws as `requireCurrent`, UNAUTHENTICATED where there is no identity that could be allowed, PERMISSION_DENIED where there is one that
   * is not, and whatever Validate throws where the caller's own token cannot be judged.
   */
  async authorise(caller: Caller, act: Act, signal: AbortSignal): Promise<Actor> {
    this.requireCurrent(caller);
    if (caller.bearer === undefined) {
      const actor = Callers.actorOf(caller);
      if (this.allows(caller, act)) return actor;
      // Who has shown a certificate is known, though by no line.
      if (caller.peer) throw new SidecarError('PERMISSION_DENIED', `${actor.name} may not ${act}`, { reason: 'CALLER_NOT_ALLOWED' });
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
    const through = caller.peer ? ` through ${caller.peer.name}` : '';
    const name = `${token.user?.name ?? who}@${known.issuer.name} (${known.fingerprint})${through}`;
    const allowed =
      this.allows(caller, act) ||
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

  #hasEnded(peer: Peer): boolean {
    return !(this.#nowMs() < peer.validUntilMs);
  }

  #allowedTo(peer: Peer): ReadonlySet<Act> {
    const kept = this.#ofPeers.get(peer);
    if (kept) return kept;
    const made = this.#acts((who) => {
      if (who.kind === 'spiffe-id') return who.id === peer.spiffeId;
      return who.kind === 'certificate-name' && peer.dnsNames.includes(who.name);
    });
    this.#ofPeers.set(peer, made);
    return made;
  }

  #acts(fits: (who: CallerLine['who']) => boolean): ReadonlySet<Act> {
    return new Set(this.#lines.filter(({ who }) => fits(who)).flatMap(({ may }) => may));
  }
}
