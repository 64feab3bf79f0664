// The Prometheus alerts: each is about metrics that exist, and names a paragraph that does.
import { describe, expect, test } from 'vitest';
import { metricTable } from '../../src/telemetry/metric-table.ts';
import { documentsOf, each, type Node, said, textOf } from './manifests.ts';

const [alerts = {}] = documentsOf('deploy/prometheus/alerts.yaml');
const [played = {}] = documentsOf('deploy/prometheus/alerts.test.yaml');
const rules = each(alerts['groups']).flatMap((group) => each(group['rules']));
const names = rules.map(({ alert }) => said(alert));

/** What the scraper adds to every series. */
const added = ['job', 'instance'];

/** The metrics of an expression, each with the labels by which it is narrowed. Comments and texts are left out. */
function metricsIn(expression: string): readonly { readonly name: string; readonly labels: readonly (readonly [string, string])[] }[] {
  return [...expression.matchAll(/\b((?:sidegate|rpc)_\w+|up)\b(?:\{([^}]*)\})?/g)].map(([, name = '', inside = '']) => ({
    name,
    labels: [...inside.matchAll(/(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"/g)].map(([, label = '', value = '']) => [label, value] as const),
  }));
}

/** The labels that a metric has; undefined: there is no such metric. Histograms are asked by their buckets, sums and counts. */
function labelsOf(name: string): readonly string[] | undefined {
  if (name === 'up') return added;
  const [, base = name, part] = /^(.*)_(bucket|sum|count)$/.exec(name) ?? [];
  const plain = metricTable[name];
  if (plain) return plain.kind === 'histogram' ? undefined : [...plain.labels, ...added];
  const shape = metricTable[base];
  if (shape?.kind !== 'histogram') return undefined;
  return [...shape.labels, ...added, ...(part === 'bucket' ? ['le'] : [])];
}

/** The place of a heading in a page, as forges name it. */
const anchor = (heading: string): string =>
  heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');

test('the alerts are those that operators were promised', () => {
  expect(names).toEqual(
    expect.arrayContaining(
      [
        'NotServing',
        'Degraded',
        'NewsSilent',
        'JournalFailed',
        'OutboxGrowing',
        'OurCredentialRefused',
        'HitRatioFell',
        'SharedServerOut',
        'SharedUnreadable',
        'EventLoopLate',
      ].map((name) => `Sidegate${name}`),
    ),
  );
  expect(new Set(names).size).toBe(names.length);
});

describe.each(rules.map((rule) => [said(rule['alert']), rule] as const))('%s', (_name, rule) => {
  const expression = said(rule['expr']);
  const metrics = metricsIn(expression);

  test('asks for metrics that exist, by labels that they have', () => {
    expect(metrics.length).toBeGreaterThan(0);
    for (const { name, labels } of metrics) {
      expect(labelsOf(name), name).toBeDefined();
      expect(labelsOf(name)).toEqual(expect.arrayContaining(labels.map(([label]) => label)));
    }
  });

  test('gathers by labels that all of its metrics have, and tells of no others', () => {
    const gathered = [...expression.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, list = '']) => list.split(/,\s*/));
    const told = [...JSON.stringify(rule['annotations']).matchAll(/\$labels\.(\w+)/g)].map(([, label = '']) => label);
    for (const { name } of metrics) expect(labelsOf(name)).toEqual(expect.arrayContaining(gathered));
    const kept = gathered.length > 0 ? gathered : (labelsOf(metrics[0]?.name ?? '') ?? []);
    expect(kept).toEqual(expect.arrayContaining(told));
  });

  test('says how urgent it is, and names a paragraph that is there', () => {
    expect(['page', 'ticket']).toContain(said(rule['labels']?.['severity']));
    const [, page = '', place] = /^(docs\/[a-z]+\.md)#([a-z-]+)$/.exec(said(rule['annotations']?.['runbook'])) ?? [];
    expect(page).toBe('docs/operations.md');
    const headings = [...textOf(page).matchAll(/^#{2,4} (.+)$/gm)].map(([, heading = '']) => anchor(heading));
    expect(headings).toContain(place);
  });

  test('is played in alerts.test.yaml, where it must come and where it must not', () => {
    const tests = each(played['tests']);
    const silent = tests.flatMap((it) => each(it['alert_rule_test'])).filter((it) => each(it['exp_alerts']).length === 0);
    const firing = tests.flatMap((it: Node) => each(it['promql_expr_test'])).flatMap((it) => each(it['exp_samples']));
    expect(silent.map(({ alertname }) => said(alertname))).toContain(said(rule['alert']));
    expect(firing.map(({ labels }) => said(labels))).toContain(`{alertname="${said(rule['alert'])}"}`);
  });
});

test('a metric that nobody has, and a label that it lacks, would have been found', () => {
  expect(labelsOf('sidegate_no_such_thing')).toBeUndefined();
  expect(labelsOf('sidegate_event_loop_delay_seconds')).toBeUndefined();
  expect(labelsOf('sidegate_degraded')).not.toContain('issuer');
  expect(metricsIn('rate(sidegate_degraded{issuer="a",cause!="b"}[5m]) > 0')).toEqual([
    {
      name: 'sidegate_degraded',
      labels: [
        ['issuer', 'a'],
        ['cause', 'b'],
      ],
    },
  ]);
});
