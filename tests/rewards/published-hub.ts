/** @file The repositories of the published rewards, tiny and with random weights in the published layout, for a hub on this machine. */
import { readdir, readFile } from 'node:fs/promises';
import { fixturePath } from './preference.js';
import { writeFloat32 } from './safetensors-of.js';

const read = async (path: string): Promise<Buffer> => readFile(fixturePath(path));

/** The files of a folder of fixtures. */
async function folder(path: string): Promise<[string, Buffer][]> {
  const names = await readdir(fixturePath(path));
  return Promise.all(names.map(async (name): Promise<[string, Buffer]> => [name, await read(`${path}/${name}`)]));
}

export async function publishedRepositories(): Promise<Map<string, Map<string, Buffer>>> {
  const tokenizer = await folder('pipeline_sd1/tokenizer');
  const clip = await folder('published_clip');
  const safe = await writeFloat32(fixturePath('published_clip/pytorch_model.bin'));
  const files = (entries: readonly (readonly [string, Buffer])[]): Map<string, Buffer> => new Map(entries);
  return new Map([
    ['openai/clip-vit-base-patch32', files([...clip, ...tokenizer])],
    ['openai/clip-vit-large-patch14', files([...clip.filter(([name]) => name.endsWith('.json')), ['model.safetensors', safe], ...tokenizer])],
    ['camenduru/improved-aesthetic-predictor', files([['sac+logos+ava1-l14-linearMSE.pth', await read('published_aesthetic.pth')]])],
    ['yuvalkirstain/PickScore_v1', files([...await folder('preference_pickscore'), ...tokenizer])],
    ['xswu/HPSv2', files([['HPS_v2_compressed.pt', await read('preference_hpsv2.pt')], ['HPS_v2.1_compressed.pt', await read('preference_hpsv2.pt')]])],
    ['THUDM/ImageReward', files([['ImageReward.pt', await read('preference_image_reward.pt')], ['test_images.zip', Buffer.alloc(9)]])],
    ['google-bert/bert-base-uncased', files([['vocab.txt', await read('wordpiece.txt')]])],
  ]);
}
