// A project that is disabled disables what is below it, of which nobody tells: what was asked of it decides (S8).

import type { Clock, NewsInvalidation, ProjectStanding, Telemetry } from '../../ports.ts';
import { within } from '../telling/deadline.ts';
import { SpacedRuns } from './spaced-runs.ts';

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

/** A project that was changed lately. */
interface Changed {
  /** Questions about it: one in a settle window, however often it is changed. */
  readonly checks: SpacedRuns<readonly NewsInvalidation[]>;
  /** Changes that wait for an answer. */
  waiting: number;
  /** Monotonic: when Keystone was last asked about a token of it that it accepted. */
  acceptedMs: number;
}

/** Projects asked about at once; beyond that all are taken for disabled. */
const mostProjects = 32;
/** The longest that a question is waited for, in milliseconds. */
const longestQuestionMs = 3_000;

const allProjects: NewsInvalidation = { effect: 'REFRESH', conditions: [{ dimension: 'scope_kind', value: 'project' }], isWide: true };

/** Asks once about each project that was changed, when that has settled. */
export class Cascades {
  readonly #parts: CascadesParts;
  readonly #changed = new Map<string, Changed>();
  #saidWhy = false;

  constructor(parts: CascadesParts) {
    this.#parts = parts;
  }

  /**
   * What the change of this project means beyond itself: nothing where it is enabled; else all tokens of its domain's projects, or of all
   * projects where the domain is not known, may be concerned. Rejects when we stop. Takes two settle windows and a question at most, and
   * one window more where it is changed again and again: nobody waits for the last change.
   */
  async after(projectId: string): Promise<readonly NewsInvalidation[]> {
    const { clock, settleMs } = this.#parts;
    const there = this.#changed.get(projectId);
    if (there === undefined && this.#changed.size >= mostProjects) return [allProjects];
    const project = there ?? this.#begin(projectId);
    project.waiting += 1;
    try {
      // One that asks sooner than this change has settled may be answered from before it.
      return await project.checks.from(clock.monotonicMs() + settleMs);
    } finally {
      project.waiting -= 1;
      if (project.waiting === 0) this.#changed.delete(projectId);
    }
  }

  /** A token of this project was accepted by Keystone, which was asked at `beganMs` (monotonic). Cheap where nothing is checked. */
  accepted(projectId: () => string | undefined, beganMs: number): void {
    if (this.#changed.size === 0) return;
    const project = this.#changed.get(projectId() ?? '');
    if (project) project.acceptedMs = Math.max(beganMs, project.acceptedMs);
  }

  #begin(projectId: string): Changed {
    const { clock, settleMs: spacingMs, stop } = this.#parts;
    const checks = new SpacedRuns({ clock, spacingMs, stop, work: () => this.#check(projectId, project) });
    const project: Changed = { checks, waiting: 0, acceptedMs: Number.NEGATIVE_INFINITY };
    this.#changed.set(projectId, project);
    return project;
  }

  async #check(projectId: string, project: Changed): Promise<readonly NewsInvalidation[]> {
    const { clock, settleMs, stop } = this.#parts;
    const settledMs = clock.monotonicMs();
    const standing = await this.#ask(projectId);
    if (standing.kind === 'enabled') return [];
    if (standing.kind === 'disabled') return [standing.domainId === undefined ? allProjects : allProjectsOf(standing.domainId)];
    if (standing.kind === 'refused') return [allProjects];
    // Its tokens that are in use are fetched again these days: one that is accepted answers for the project.
    const isAlive = (): boolean => project.acceptedMs >= settledMs;
    if (!isAlive()) await clock.delay(settleMs, stop);
    return isAlive() ? [] : [allProjects];
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
