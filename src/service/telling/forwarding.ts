// Telling the authorities what was revoked here, and learning from them what else names it: from the outbox, until it is done.

import { LRUCache } from 'lru-cache';
import { SidecarError } from '../../core/errors.ts';
import { digestOf } from '../../core/raw.ts';
import type { Forwarded } from '../asked.ts';
import type { Issuer } from '../issuer.ts';
import { type KillingParts, learn } from '../killing.ts';
import { Wakeup } from '../wakeup.ts';
import { within } from './deadline.ts';
import { type Letter, type LetterHead, letterId } from './letter.ts';
import { type Kept, Letters, type LettersParts } from './letters.ts';
import { type Delivery, Recipient, type RecipientParts, type RecipientStatus } from './recipient.ts';

/** What forwarding needs. */
export interface ForwardingParts extends KillingParts, LettersParts, RecipientParts {
  readonly issuers: readonly Issuer[];
  readonly invalidations: KillingParts['invalidations'] & { steadyNowMs(): number };
}

/** How long a reply waits for what the authority says. */
const replyWaitMs = 1000;
/** How often it is looked for letters that do not matter any more. */
const sweepMs = 60_000;
/** Tokens whose authority has accepted it, so that a retry is told so. */
const acceptedRemembered = 10_000;

type Said = 'accepted' | 'rejected' | 'learned' | 'refused';

/** Delivers letters: at least once each, unless the token has ended first. */
export class Forwarding {
  readonly #parts: ForwardingParts;
  readonly #letters: Letters;
  readonly #recipients: ReadonlyMap<string, Recipient>;
  readonly #accepted = new LRUCache<string, true>({ max: acceptedRemembered });
  readonly #changed = new Wakeup();

  constructor(parts: ForwardingParts) {
    this.#parts = parts;
    this.#letters = new Letters(parts);
    this.#recipients = new Map(parts.issuers.map((issuer) => [issuer.name, new Recipient(issuer, parts)]));
  }

  /** What waits in the outbox, also what cannot be delivered as it is. */
  get pendingCount(): number {
    return this.#letters.size;
  }

  /** Letters that no deployment key opens, or that another version wrote. */
  get unreadableCount(): number {
    return this.#letters.unreadable;
  }

  /** Of every issuer that can be told, or that something waits for. */
  status(): readonly RecipientStatus[] {
    const told = [...this.#recipients.values()].map((recipient) => ({ recipient, status: recipient.status() }));
    return told.filter(({ recipient, status }) => recipient.issuer.revoke || status.pending > 0).map(({ status }) => status);
  }

  /** Whether the authority has accepted the revocation of this token, as far as is remembered. */
  hasAccepted(digest: string): boolean {
    return this.#parts.tagger.fingerprints(digest).some((fingerprint) => this.#accepted.has(fingerprint));
  }

  /** Reads what waits from before. To be awaited before `run` and before anything is revoked. Throws as `Outbox.list`. */
  async load(): Promise<void> {
    await this.#letters.load();
    for (const kept of this.#letters.all()) {
      const head = kept.envelope?.head;
      // As if it had failed once: what waits from before is tried a few at a time.
      if (head) this.#recipients.get(head.issuer)?.add(kept, head, 1);
    }
  }

  /** Delivers until `stop` aborts. What is under way then stays in the outbox, and nothing of it goes on when this resolves. */
  async run(stop: AbortSignal): Promise<void> {
    const { clock } = this.#parts;
    let sweepAtMs = clock.monotonicMs();
    while (!stop.aborted) {
      const seen = this.#changed.version;
      if (clock.monotonicMs() >= sweepAtMs) {
        sweepAtMs = clock.monotonicMs() + sweepMs;
        await this.#dropEnded();
      }
      for (const recipient of this.#recipients.values()) {
        recipient.begin(
          (delivery) => this.#deliver(recipient, delivery, stop),
          () => this.#changed.wake(),
        );
      }
      await this.#pause(seen, sweepAtMs, stop);
    }
    await Promise.all([...this.#recipients.values()].map((recipient) => recipient.settled()));
  }

  /**
   * Has the authority told that the token is to be dead: the letter is durable first; then it is tried at once, and waited for a second
   * at most. Throws RESOURCE_EXHAUSTED / OUTBOX_FULL, and as `Outbox.put`.
   */
  async forward(letter: Letter, signal: AbortSignal): Promise<Forwarded> {
    const delivery = this.#waitingFor(letter) ?? this.#added(await this.#letters.put(letter), letter.head);
    // It may have failed before: somebody asks for it now.
    delivery.notBeforeMs = Math.min(delivery.notBeforeMs, this.#parts.clock.monotonicMs());
    this.#changed.wake();
    const isSilent = this.#recipients.get(letter.head.issuer)?.isSilentFor(delivery, replyWaitMs);
    return isSilent ? 'pending' : this.#saidOf(delivery, signal);
  }

  /**
   * Has the authority asked what else names a token that is dead here; durable when it resolves. `known` is told when the token turns
   * out to be one. Throws as `forward`.
   */
  async learn(letter: Letter, known: () => void): Promise<void> {
    const delivery = this.#waitingFor(letter) ?? this.#added(await this.#letters.put(letter), letter.head);
    delivery.known = known;
    this.#changed.wake();
  }

  /** The letter that is there already, whichever deployment key made its name. */
  #waitingFor({ head, raw }: Letter): Delivery | undefined {
    const recipient = this.#recipients.get(head.issuer);
    const there = this.#parts.tagger.fingerprints(digestOf(raw)).map((fingerprint) => recipient?.find(letterId(head.errand, fingerprint)));
    return there.find((delivery) => delivery?.kept.isReadable);
  }

  #added(kept: Kept, head: LetterHead): Delivery {
    const recipient = this.#recipients.get(head.issuer);
    if (!recipient) throw new SidecarError('INTERNAL', `there is no issuer "${head.issuer}" to be told`, { reason: 'NO_RECIPIENT' });
    // Two that came at once have one delivery.
    const there = recipient.find(kept.id);
    return there?.kept.isReadable ? there : recipient.add(kept, head, 0);
  }

  /** What comes of the next attempt, or of the one that is under way. */
  #saidOf(delivery: Delivery, signal: AbortSignal): Promise<Forwarded> {
    return new Promise((resolve) => {
      const over = new AbortController();
      const done = (said: Forwarded): void => {
        delivery.waiting.delete(done);
        signal.removeEventListener('abort', leave);
        over.abort();
        resolve(said);
      };
      const leave = (): void => done('pending');
      delivery.waiting.add(done);
      signal.addEventListener('abort', leave, { once: true });
      this.#parts.clock.delay(replyWaitMs, over.signal).then(leave, () => undefined);
      if (signal.aborted) leave();
    });
  }

  /** Never rejects. */
  async #deliver(recipient: Recipient, delivery: Delivery, stop: AbortSignal): Promise<void> {
    const { kept, head } = delivery;
    try {
      // Once it is dead at the authority, nothing more can be learned of it there.
      const learning = head.errand === 'forward' ? recipient.find(letterId('learn', head.fingerprint)) : undefined;
      if (learning) await recipient.beside(learning, (one) => this.#deliver(recipient, one, stop));
      if (this.#hasEnded(head)) return await this.#drop(kept, head);
      const said = await within(this.#parts.clock, recipient.issuer.calls.deadlineMs, stop, (signal) =>
        this.#say(recipient.issuer, delivery, signal),
      );
      recipient.succeeded();
      await this.#conclude(recipient, delivery, said);
    } catch (error) {
      if (!stop.aborted) recipient.failed(delivery, error);
    } finally {
      for (const done of [...delivery.waiting]) done('pending');
    }
  }

  async #say(issuer: Issuer, { kept, head }: Delivery, signal: AbortSignal): Promise<Said> {
    const raw = this.#letters.open(kept);
    // Neither is possible of what has had its turn: `Recipient` gives none without a key, nor where the authority cannot be told.
    if (raw === undefined) throw new SidecarError('INTERNAL', 'a letter cannot be opened', { reason: 'LETTER_SEALED' });
    if (head.errand === 'learn') return learn(this.#parts, { ...head, raw, issuer }, signal);
    if (!issuer.revoke) throw new SidecarError('INTERNAL', 'the authority cannot be told', { reason: 'CANNOT_FORWARD' });
    return issuer.revoke(raw, signal);
  }

  async #conclude(recipient: Recipient, delivery: Delivery, said: Said): Promise<void> {
    const { kept, head, waiting } = delivery;
    recipient.remove(delivery);
    if (said === 'learned') delivery.known?.();
    if (said === 'accepted' || said === 'rejected') {
      recipient.count(said);
      if (said === 'accepted') this.#accepted.set(head.fingerprint, true);
      // Who waited writes the line with the reply.
      if (waiting.size === 0) this.#audit(head, said);
      for (const done of [...waiting]) done(said);
    }
    await this.#remove(kept);
  }

  async #dropEnded(): Promise<void> {
    for (const kept of this.#letters.all()) {
      const head = kept.envelope?.head;
      const isUnderWay = head && this.#recipients.get(head.issuer)?.find(kept.id)?.running !== undefined;
      if (head && !isUnderWay && this.#hasEnded(head)) await this.#drop(kept, head);
    }
  }

  /** Not by the wall clock alone: one that jumps ahead would have the authority never told. */
  #hasEnded({ endsAtMs }: LetterHead): boolean {
    return this.#parts.invalidations.steadyNowMs() >= endsAtMs;
  }

  async #drop(kept: Kept, head: LetterHead): Promise<void> {
    const recipient = this.#recipients.get(head.issuer);
    const delivery = recipient?.find(kept.id);
    if (delivery) recipient?.remove(delivery);
    if (head.errand === 'forward') {
      recipient?.count('expired');
      this.#audit(head, 'expired');
    }
    await this.#remove(kept);
  }

  /** It is done: where the journal fails, it is done once more after a restart. */
  async #remove(kept: Kept): Promise<void> {
    try {
      await this.#letters.remove(kept);
    } catch (error) {
      this.#parts.telemetry.log.error({ error }, 'a letter that is done could not be taken out of the outbox');
    }
  }

  /** What came later than the reply. */
  #audit({ fingerprint, issuer, asked }: LetterHead, outcome: 'accepted' | 'rejected' | 'expired'): void {
    const { actor, reason } = asked;
    const selector = { issuer, fingerprint };
    this.#parts.telemetry.audit({ act: 'revoke', actor, outcome: `forwarded: ${outcome}`, selector, ...(reason && { reason }) });
  }

  /** Until something has changed, or is due. */
  async #pause(seen: number, sweepAtMs: number, stop: AbortSignal): Promise<void> {
    const { clock } = this.#parts;
    const over = new AbortController();
    const leave = (): void => over.abort();
    stop.addEventListener('abort', leave, { once: true });
    if (stop.aborted) leave();
    const untilMs = Math.min(sweepAtMs, ...[...this.#recipients.values()].map((recipient) => recipient.nextAtMs()));
    const waits = [this.#changed.wait(seen, over.signal), clock.delay(Math.max(0, untilMs - clock.monotonicMs()), over.signal)];
    // Rejects when `stop` aborts: the loop sees that itself.
    await Promise.race(waits).catch(() => undefined);
    stop.removeEventListener('abort', leave);
    over.abort();
  }
}
