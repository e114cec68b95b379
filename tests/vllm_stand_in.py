"""A stand-in for a vLLM server: the calls that the engine makes, answered with real vectors by transformers and PEFT.

How vLLM itself behaves is tested in tests/services/llm/vllm; here it is what the engine does about it.
"""

import base64
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from llactr_core.semantics.encoder import TextEncoder
from llactr_core.semantics.tuning.adapter import load_adapter

Answer = tuple[int, dict[str, Any]]


class StandIn:
    """`calls` counts by path, `asked` holds the token rows asked of each name, `busy` calls are answered with 503."""

    def __init__(self, model: Path) -> None:
        self.model = model
        self.adapters: dict[str, str] = {}
        self.voices: dict[str, TextEncoder] = {}
        self.calls: Counter[str] = Counter()
        self.asked: list[tuple[str, list[list[int]]]] = []
        self.busy = 0
        self.asleep = False
        self.lock = threading.Lock()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()

    def answer(self, path: str, body: dict[str, Any]) -> Answer:
        with self.lock:
            self.calls[path] += 1
            if self.busy:
                self.busy -= 1
                return 503, {"error": {"message": "busy"}}
            name, folder = str(body.get("lora_name")), str(body.get("lora_path"))
            match path:
                case "/health":
                    return 200, {}
                case "/is_sleeping":
                    return 200, {"is_sleeping": self.asleep}
                case "/sleep?level=1" | "/wake_up":
                    self.asleep = path != "/wake_up"
                    return 200, {}
                case "/v1/models":
                    base = {"id": "base", "root": str(self.model), "parent": None}
                    tuned = [{"id": one, "root": at, "parent": "base"} for one, at in self.adapters.items()]
                    return 200, {"data": [base, *tuned]}
                case "/v1/load_lora_adapter":
                    return self._load(name, folder)
                case "/v1/unload_lora_adapter":
                    return (200, {}) if self.adapters.pop(name, None) else (404, {"error": {"message": "unknown"}})
                case "/v1/embeddings":
                    return self._embed(body)
        return 404, {"detail": "Not Found"}

    def _load(self, name: str, folder: str) -> Answer:
        if name in self.adapters:
            return 400, {"error": {"message": f"The lora adapter '{name}' has already been loaded."}}
        encoder = TextEncoder.load(str(self.model), device="cpu")
        try:
            load_adapter(encoder, Path(folder))
        except Exception as error:
            return 500, {"error": {"message": str(error)}}
        self.adapters[name], self.voices[name] = folder, encoder
        return 200, {}

    def _embed(self, body: dict[str, Any]) -> Answer:
        name, rows = body["model"], body["input"]
        self.asked.append((name, rows))
        if name not in self.adapters:
            return 404, {"error": {"message": f"The model `{name}` does not exist."}}
        vectors = 3 * self.voices[name].embed_tokens(rows)  # nothing normalises here
        coded = [base64.b64encode(np.asarray(v, "<f4").tobytes()).decode() for v in vectors]
        return 200, {"data": [{"index": i, "embedding": text} for i, text in enumerate(coded)][::-1]}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.do_POST()

            def do_POST(self) -> None:
                sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, content = stand_in.answer(self.path, json.loads(sent or b"null") or {})
                answer = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        return Handler
