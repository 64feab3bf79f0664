// The journal in memory keeps the contract.

import { createMemoryJournal } from '../../src/journal/memory.ts';
import { journalConformance } from '../conformance/journal.ts';

journalConformance('the journal in memory', async (clock) => createMemoryJournal({ clock }));
