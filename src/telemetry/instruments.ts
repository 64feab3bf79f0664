// Counters, histograms and gauges: plain numbers while they are used, prom-client's shapes when somebody scrapes.

import { type Metric, Registry } from 'prom-client';
import type { Labels, Telemetry } from '../ports.ts';
import { type MetricShape, shapeOf } from './metric-table.ts';

/** The most series of one metric. What is bound beyond it counts into one series whose labels all say `other`. */
export const maxSeries = 1_000;

/** The instruments of ports.Telemetry, and what they have counted, in Prometheus' text format 0.0.4. */
export interface Instruments extends Pick<Telemetry, 'counter' | 'histogram' | 'gauge'> {
  metrics(): Promise<string>;
}

/**
 * The instruments of the closed table. Binding looks up the table and throws TypeError when it disagrees; binding the same name and
 * labels again counts on in the same series, and replaces the reader of a gauge. A gauge whose reader answers NaN or throws is left
 * out of that scrape.
 */
export function createInstruments(): Instruments {
  const registry = new Registry();
  const counters = createFamilies(registry, createCounter);
  const histograms = createFamilies(registry, createHistogram);
  const gauges = createFamilies(registry, createGauge);
  return {
    counter: (name, labels = {}) => counters(shapeOf('counter', name, labels), name, labels),
    histogram: (name, labels = {}) => histograms(shapeOf('histogram', name, labels), name, labels),
    gauge(name, labels, read) {
      gauges(shapeOf('gauge', name, labels), name, labels).read = read;
    },
    metrics: () => registry.metrics(),
  };
}

/** One line of a scrape. */
interface Sample {
  readonly metricName?: string;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
}

interface Series {
  samples(name: string, labels: Labels): readonly Sample[];
}

// All series of one kind, by metric; a metric joins the registry with its first series.
function createFamilies<S extends Series>(
  registry: Registry,
  create: (shape: MetricShape) => S,
): (shape: MetricShape, name: string, labels: Labels) => S {
  const families = new Map<string, Map<string, { readonly series: S; readonly labels: Labels }>>();
  return (shape, name, given) => {
    let family = families.get(name);
    if (family === undefined) {
      family = new Map();
      families.set(name, family);
      register(registry, { name, shape, family });
    }
    let labels: Labels = Object.fromEntries(shape.labels.map((label) => [label, String(given[label])]));
    if (family.size >= maxSeries && !family.has(keyOf(labels))) {
      labels = Object.fromEntries(shape.labels.map((label) => [label, 'other']));
    }
    const key = keyOf(labels);
    const bound = family.get(key);
    if (bound !== undefined) return bound.series;
    const series = create(shape);
    family.set(key, { series, labels });
    return series;
  };
}

const keyOf = (labels: Labels): string => JSON.stringify(Object.values(labels));

interface Family {
  readonly name: string;
  readonly shape: MetricShape;
  readonly family: ReadonlyMap<string, { readonly series: Series; readonly labels: Labels }>;
}

function register(registry: Registry, { name, shape, family }: Family): void {
  const metric = {
    name,
    help: shape.help,
    type: shape.kind,
    aggregator: 'sum',
    get: async () => ({
      name,
      help: shape.help,
      type: shape.kind,
      aggregator: 'sum',
      values: [...family.values()].flatMap(({ series, labels }) => series.samples(name, labels)),
    }),
    reset: () => undefined,
  };
  // A registry needs no more of a metric than this, but the types name only prom-client's own four classes, whose hot paths hash
  // their labels at each call.
  registry.registerMetric(metric as unknown as Metric);
}

interface CounterSeries extends Series {
  add(n?: number): void;
}

function createCounter(): CounterSeries {
  // A cell of a Float64Array is written in place; a number in a closure is a new heap object once it is no small integer.
  const total = new Float64Array(1);
  return {
    add(n = 1) {
      // Also false for NaN: a counter never falls and never ceases to be a number.
      if (n > 0) total[0] = (total[0] ?? 0) + n;
    },
    samples: (_name, labels) => [{ labels, value: total[0] ?? 0 }],
  };
}

interface HistogramSeries extends Series {
  observe(value: number): void;
}

function createHistogram(shape: MetricShape): HistogramSeries {
  const bounds = Float64Array.from(shape.bounds ?? []);
  // One count a bound, one for what is above them all, and the sum.
  const cells = new Float64Array(bounds.length + 2);
  const sumAt = bounds.length + 1;
  return {
    observe(value) {
      if (!Number.isFinite(value)) return;
      let at = 0;
      while (at < bounds.length && value > (bounds[at] ?? 0)) at++;
      cells[at] = (cells[at] ?? 0) + 1;
      cells[sumAt] = (cells[sumAt] ?? 0) + value;
    },
    samples(name, labels) {
      const samples: Sample[] = [];
      let count = 0;
      for (let at = 0; at <= bounds.length; at++) {
        count += cells[at] ?? 0;
        samples.push({ metricName: `${name}_bucket`, labels: { ...labels, le: bounds[at] ?? '+Inf' }, value: count });
      }
      samples.push({ metricName: `${name}_sum`, labels, value: cells[sumAt] ?? 0 });
      samples.push({ metricName: `${name}_count`, labels, value: count });
      return samples;
    },
  };
}

interface GaugeSeries extends Series {
  read: () => number;
}

function createGauge(): GaugeSeries {
  const series: GaugeSeries = {
    read: () => Number.NaN,
    samples(_name, labels) {
      const value = readOrNaN(series.read);
      return Number.isNaN(value) ? [] : [{ labels, value }];
    },
  };
  return series;
}

function readOrNaN(read: () => number): number {
  try {
    return read();
  } catch (_error) {
    // One reader that fails, of something being closed for instance, must not take all the other metrics from the operator.
    return Number.NaN;
  }
}
