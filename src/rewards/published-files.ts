/** @file Where the published rewards lie on the Hugging Face hub: repository, commit, files, size, licence, digests. */

/** Files of one repository that a reward is made of. */
export interface PublishedFiles {
  /** `org/name@commit`; a commit says what the files are, so that nobody can change them. Without one: the `main` of today. */
  readonly repository: string;
  readonly files: readonly string[];
  /** Bytes of all of them, about: told before a download. */
  readonly bytes: number;
  /** As the repository or the authors' code states it. */
  readonly licence: string;
  /** SHA-256 of files, where it is known from elsewhere than the hub. */
  readonly sha256?: Readonly<Record<string, string>>;
}

const TOKENIZER = ['vocab.json', 'merges.txt', 'tokenizer_config.json', 'special_tokens_map.json'];

/** openai/clip-vit-large-patch14: the aesthetic predictor's image encoder, and the vocabulary of every CLIP. */
const CLIP_L = 'openai/clip-vit-large-patch14@32bd64288804d66eefd0ccbe215aa642df71cc41';

/** A full commit stands for what it was looked up as in November 2026; nothing was downloaded to make this list. */
export const PUBLISHED = {
  clipL: {
    repository: CLIP_L, files: ['config.json', 'model.safetensors', ...TOKENIZER], bytes: 1_712_000_000, licence: 'MIT (code; the model card states none)',
    sha256: { 'model.safetensors': 'a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb' },
  },
  clipTokenizer: { repository: CLIP_L, files: TOKENIZER, bytes: 1_400_000, licence: 'MIT (code; the model card states none)' },
  /** The network of the CLIPScore paper. */
  clipB: {
    repository: 'openai/clip-vit-base-patch32@3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268',
    files: ['config.json', 'pytorch_model.bin', ...TOKENIZER], bytes: 607_000_000, licence: 'MIT (code; the model card states none)',
  },
  /** A copy of github.com/christophschuhmann/improved-aesthetic-predictor's file, whose digest the pin is. */
  aestheticHead: {
    repository: 'camenduru/improved-aesthetic-predictor', files: ['sac+logos+ava1-l14-linearMSE.pth'], bytes: 3_700_000, licence: 'Apache-2.0 (code)',
    sha256: { 'sac+logos+ava1-l14-linearMSE.pth': '21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0' },
  },
  pickscore: {
    repository: 'yuvalkirstain/PickScore_v1@a4e4367c6dfa7288a00c550414478f865b875800',
    files: ['config.json', 'model.safetensors', ...TOKENIZER], bytes: 3_945_000_000, licence: 'MIT (code; the model card states none)',
  },
  hpsv2: {
    repository: 'xswu/HPSv2@697403c78157020a1ae59d23f111aa58ced35b0a', files: ['HPS_v2_compressed.pt'], bytes: 1_972_000_000, licence: 'Apache-2.0',
  },
  hpsv21: {
    repository: 'xswu/HPSv2@697403c78157020a1ae59d23f111aa58ced35b0a', files: ['HPS_v2.1_compressed.pt'], bytes: 1_972_000_000, licence: 'Apache-2.0',
  },
  imageReward: {
    repository: 'THUDM/ImageReward@9fabc279a94f082f9eb130070cac021569dd16dc', files: ['ImageReward.pt'], bytes: 1_790_000_000, licence: 'Apache-2.0',
  },
  dino: { repository: 'facebook/dino-vitb16', files: ['pytorch_model.bin'], bytes: 343_000_000, licence: 'Apache-2.0' },
  bertVocabulary: { repository: 'google-bert/bert-base-uncased', files: ['vocab.txt'], bytes: 232_000, licence: 'Apache-2.0' },
} as const satisfies Readonly<Record<string, PublishedFiles>>;
