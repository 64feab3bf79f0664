// What revoking and refreshing rest on.

import type { Tagger } from '../core/tag.ts';
import type { Clock, Telemetry } from '../ports.ts';
import type { FactsStore } from './facts.ts';
import type { Invalidations } from './invalidations.ts';
import type { Issuer } from './issuer.ts';
import type { Forwarding } from './telling/forwarding.ts';
import type { Handles } from './tier/handles.ts';
import type { UnverifiedLimits } from './unverified-budget.ts';

/** What the revoker needs. */
export interface RevokerParts {
  readonly issuers: readonly Issuer[];
  readonly facts: FactsStore;
  readonly invalidations: Invalidations;
  readonly tagger: Tagger;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** Between our hosts. */
  readonly skewMs: number;
  /** How long a REFRESH has to be kept (S12). */
  readonly refreshLifeMs: number;
  readonly tokenSizeBytes: number;
  readonly forwarding: Forwarding;
  /** What the shared tier keeps of tokens by their handles; absent: nothing. */
  readonly handles?: Pick<Handles, 'open'> | undefined;
  /** By possession, of tokens of which only the shape is known: a second and giver, and alive at once. */
  readonly unverified: UnverifiedLimits;
}
