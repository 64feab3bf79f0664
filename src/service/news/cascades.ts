// A project that is disabled disables what is below it, of which nobody tells: what was asked of it decides (S8).

import type { Clock, NewsInvalidation, ProjectStanding, Telemetry } from '../../ports.ts';
import { within } from '../telling/deadline.ts';

/** What it needs. */
export interface CascadesParts {
  readonly issuer: string;
  /** Absent: nobody can be asked. */
  readonly project: ((id: string, signal: AbortSignal) => Promise<ProjectStanding>) | undefined;
  readonly settleMs: number;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly stop: AbortSignal;
}

interface Check {
  /** Monotonic: a token of the project whose fetch began then or later is asked about when Keystone has settled. */
  readonly settledMs: number;
  /** Such a token was accepted. */
  isAlive: boolean;
  readonly done: Promise<readonly NewsInvalidation[]>;
}

/** Projects asked about at once; beyond that all are taken for disabled. */
const mostChecks = 32;
/** The longest that a question is waited for, in milliseconds. */
const longestQuestionMs = 3_000;

const allProjects: NewsInvalidation = { effect: 'REFRESH', conditions: [{ dimension: 'scope_kind', value: 'project' }], isWide: true };

/** Asks once about each project that was changed, when that has settled. */
export class Cascades {
  readonly #parts: CascadesParts;
  readonly #checks = new Map<string, Check>();
  #saidWhy = false;

  constructor(parts: CascadesParts) {
    this.#parts = parts;
  }

  /**
   * What the change of this project means beyond itself: nothing where it is enabled; else all tokens of its domain's projects, or of all
   * projects where the domain is not known, may be concerned. Rejects when we stop. Takes two settle windows and a question at most.
   */
  async after(projectId: string): Promise<readonly NewsInvalidation[]> {
    const { clock, settleMs } = this.#parts;
    const settledMs = clock.monotonicMs() + settleMs;
    const there = this.#checks.get(projectId);
    // One that asks sooner than this change has settled may be answered from before it.
    if (there && there.settledMs >= settledMs) return await there.done;
    if (this.#checks.size >= mostChecks) return [allProjects];
    const check: Check = { settledMs, isAlive: false, done: this.#check(projectId, () => check) };
    this.#checks.set(projectId, check);
    const forget = (): void => {
      if (this.#checks.get(projectId) === check) this.#checks.delete(projectId);
    };
    return await check.done.finally(forget);
  }

  /** A token of this project was accepted by Keystone, which was asked at `beganMs` (monotonic). Cheap where nothing is checked. */
  accepted(projectId: () => string | undefined, beganMs: number): void {
    if (this.#checks.size === 0) return;
    const check = this.#checks.get(projectId() ?? '');
    if (check && beganMs >= check.settledMs) check.isAlive = true;
  }

  async #check(projectId: string, own: () => Check): Promise<readonly NewsInvalidation[]> {
    const { clock, settleMs, stop } = this.#parts;
    await clock.delay(settleMs, stop);
    const standing = await this.#ask(projectId);
    if (standing.kind === 'enabled') return [];
    if (standing.kind === 'disabled') return [standing.domainId === undefined ? allProjects : allProjectsOf(standing.domainId)];
    if (standing.kind === 'refused') return [allProjects];
    // Its tokens that are in use are fetched again these days: the first that is accepted answers for the project.
    if (!own().isAlive) await clock.delay(settleMs, stop);
    // It has been changed again meanwhile: what comes of that holds for this change, too.
    const newest = this.#checks.get(projectId);
    if (newest && newest !== own()) return await newest.done;
    return own().isAlive ? [] : [allProjects];
  }

  async #ask(projectId: string): Promise<ProjectStanding> {
    const { project, clock, stop, telemetry, issuer } = this.#parts;
    if (project === undefined) return { kind: 'unknown', problem: 'nobody can be asked about projects' };
    let standing: ProjectStanding;
    try {
      standing = await within(clock, longestQuestionMs, stop, (signal) => project(projectId, signal));
    } catch (error) {
      stop.throwIfAborted();
      standing = { kind: 'unknown', problem: error instanceof Error ? error.message : String(error) };
    }
    if (standing.kind === 'unknown' && !this.#saidWhy) {
      this.#saidWhy = true;
      const { problem } = standing;
      telemetry.log.warn(
        { issuer, problem },
        'whether a project is enabled cannot be asked: each change of one refreshes the tokens of all',
      );
    }
    return standing;
  }
}

function allProjectsOf(domainId: string): NewsInvalidation {
  return { effect: 'REFRESH', conditions: [{ dimension: 'project_domain', value: domainId }], isWide: true };
}
