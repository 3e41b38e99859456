/** @file What a run can be made of, as the server knows it. */
import { signal } from '@preact/signals';
import type { Setting } from '../src/training/settings-table.js';
import { getJson } from './api.js';

export interface Choices {
  readonly settings: readonly Setting[];
  readonly models: readonly { readonly name: string; readonly from: readonly string[] }[];
  readonly prompts: readonly { readonly name: string; readonly count: number; readonly examples: readonly string[] }[];
  readonly methods: readonly { readonly name: string; readonly reward: string; readonly summary: string; readonly paper: string }[];
  readonly rewards: readonly { readonly name: string; readonly differentiable: boolean; readonly description: string }[];
  readonly methodSettings: Readonly<Record<string, readonly Setting[]>>;
  readonly rewardSettings: Readonly<Record<string, readonly Setting[]>>;
}

export const choices = signal<Choices | null>(null);

export async function loadChoices(): Promise<void> {
  choices.value ??= await getJson<Choices>('/api/choices');
}
