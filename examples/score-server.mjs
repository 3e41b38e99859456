// A scorer that `--reward "http?url=http://127.0.0.1:8000/score"` asks, for methods that need no gradient.
// Here: how much of the picture is not white. Start it with: node examples/score-server.mjs
import { createServer } from 'node:http';
import sharp from 'sharp';

async function ink(png) {
  const { data } = await sharp(Buffer.from(png, 'base64')).greyscale().raw().toBuffer({ resolveWithObject: true });
  return data.reduce((sum, v) => sum + (255 - v) / 255, 0) / data.length;
}

createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  const { images, prompts } = JSON.parse(Buffer.concat(parts)); // base64 PNGs, and the prompt of each
  console.error(`${images.length} images of ${[...new Set(prompts)].join(', ')}`);
  response.end(JSON.stringify({ scores: await Promise.all(images.map(ink)) })); // one number for each, in order
}).listen(8000, '127.0.0.1');
