/** @file What a run can be made of, for the form: settings with their meanings from the schema that checks them, and the lists. */
import { METHODS } from '../methods/index.js';
import { REWARDS } from '../rewards/registry.js';
import { LISTS } from '../training/catalogue.js';
import { configSchema } from '../training/config.js';
import { settingsOf } from '../training/settings-table.js';

/** As `attune list` has them. */
export async function choices(): Promise<object> {
  const [models, prompts, methods, rewards, devices] = await Promise.all([LISTS.models(), LISTS.prompts(), LISTS.methods(), LISTS.rewards(), LISTS.devices()]);
  return {
    settings: settingsOf(configSchema), models, prompts, methods, rewards, devices,
    methodSettings: Object.fromEntries(METHODS.map(({ name, options }) => [name, settingsOf(options, 'method.')])),
    rewardSettings: Object.fromEntries(REWARDS.map(({ name, options }) => [name, settingsOf(options)])),
  };
}
