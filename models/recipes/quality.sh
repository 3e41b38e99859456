#!/bin/sh
# The reward model "quality" from nothing: real emoji against samples of the bundled model; then on against samples of a
# LoRA that pleases it, so that that way of pleasing no longer pays. About half an hour on two cores.
set -e
sample() { npx attune sample --prompts names --guidance 1 --sampling-steps 8 "$@"; }
learn() { npx attune pretrain --recipe models/recipes/quality.yaml --data models/data/out "$@"; }

sample --count 2 --seed 100000 --out runs/quality/base
learn --work runs/pretrain/quality-1 --worse runs/quality/base
npx attune train --reward quality --out runs/quality/round-1
sample --seed 200000 --lora runs/quality/round-1/lora/kohya.safetensors:1.5 --out runs/quality/tuned-1
learn --work runs/pretrain/quality-2 --from-existing
