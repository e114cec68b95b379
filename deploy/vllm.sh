#!/bin/sh
# `vllm serve` as the LLM service wants it: pooled, not normalised, no prefix cache, adapters at any time.
set -eu
if [ "${LLM_ENGINE:-}" != vllm ]; then
  echo "error: the LLM service would not use this server; start with: docker compose --env-file deploy/gpu.env up" >&2
  exit 1
fi
VLLM_API_KEY="$(cat /run/llactr/keys/llm/llactr_llm_vllm_key)"
export VLLM_API_KEY VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 VLLM_ALLOW_LONG_MAX_MODEL_LEN=1
exec vllm serve "$VLLM_MODEL" --host 0.0.0.0 --port 8000 \
  --runner pooling --convert embed \
  --pooler-config "{\"seq_pooling_type\": \"$VLLM_POOLING\", \"use_activation\": false}" \
  --dtype "${VLLM_DTYPE:-auto}" --max-model-len "$VLLM_MAX_MODEL_LEN" \
  --enable-lora --max-lora-rank 64 --max-loras 5 --max-cpu-loras 5 \
  --no-enable-prefix-caching
