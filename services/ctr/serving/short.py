"""Small scoring requests with nothing unusual about them, answered on the short way: same answers, same counts.

What is asked of each on the ordinary way is asked here too, by the same parts: the gate, the key and its rate, the
model, the body. Wherever one of them has more to say than yes, the request goes back, and the ordinary way says it;
but for a service that has too much to do, which has to be said at the least cost.
"""

import re
import time
from dataclasses import dataclass
from functools import lru_cache, partial

from fastapi.security.utils import get_authorization_scheme_param
from starlette.exceptions import HTTPException

from llactr_core.errors import LlactrError, OverloadError
from services.ctr.formats.answers import Answer, accepted, encode
from services.ctr.formats.decoding import MEDIA_TYPES, Batch, decode
from services.ctr.serving.admission import Admission, Ticket
from services.ctr.serving.gate import SCORE, form_of, refusal, timeout_of
from services.ctr.serving.hooks import Scored
from services.ctr.serving.pipeline import DECODING, INLINE_BYTES, Asked, Read, ScoringPipeline
from services.ctr.serving.pool import Loaded
from services.ctr.serving.together import Scores
from services.ctr.settings import CtrSettings
from services.shared.access.auth import Guard
from services.shared.http.short_way import HEADS, Head, RawHeaders, ShortCall
from services.shared.telemetry.tally import TALLY

MODEL = re.compile(rb"model=([A-Za-z0-9._:@-]{1,500})")


@dataclass(frozen=True)
class Terms:
    """What a head says: the model (None: the default one), the caller's key (None: none), the body's media type and
    form, the answer's, the deadline.
    """

    model: str | None
    key: str | None
    content_type: str | None
    form: str
    media: str
    timeout_s: float | None


@dataclass(frozen=True, slots=True)
class _Begun:
    """A request that waits for its scores."""

    call: ShortCall
    terms: Terms
    ticket: Ticket
    loaded: Loaded
    batch: Batch
    read: Read
    decoded: float


class ShortScoring:
    """The `ShortWay` of POST /v1/score."""

    method, path = "POST", SCORE

    def __init__(self, pipeline: ScoringPipeline, admission: Admission, settings: CtrSettings, guard: Guard) -> None:
        self.most_bytes = min(INLINE_BYTES, settings.max_body_bytes)
        self._pipeline = pipeline
        self._admission = admission
        self._guard = guard
        self._limits = (settings.max_rows, settings.max_body_bytes)

    def begin(self, call: ShortCall) -> bool:
        """Answer the request, or leave it to the ordinary way."""
        terms = terms_of(call.head)
        if terms is None:
            return False
        try:
            ticket = self._admission.enter(len(call.body), terms.timeout_s, terms.form)
        except OverloadError as error:
            response = refusal(error)
            call.answer(response.status_code, response.raw_headers, bytes(response.body))
            return True
        begun = self._begun(call, terms, ticket)
        if begun is None:
            self._admission.leave(ticket)
            return False
        scorer, encoded = begun.loaded.scorer, begun.read.encoded
        self._pipeline.together.add(scorer, encoded, partial(self._end, begun), is_alone=call.is_alone)
        return True

    def _begun(self, call: ShortCall, terms: Terms, ticket: Ticket) -> _Begun | None:
        """None where the request is one for the ordinary way."""
        caller = self._guard.known(terms.key)
        if caller is None:
            return None
        try:
            loaded = self._pipeline.finder.in_memory(caller, terms.model)
            if loaded is None:
                return None
            asked = Asked(terms.model, partial(decode, call.body, terms.content_type, *self._limits), len(call.body))
            began = time.perf_counter()
            batch = asked.decode(loaded.scorer.reader)
            decoded = time.perf_counter()
            if ticket.settle(batch.rows) is not None or not self._pipeline.is_plain(loaded, batch, asked):
                return None
            read = self._pipeline.read(loaded.scorer, batch, asked)
        except Exception:  # the ordinary way says what is wrong
            return None
        if ticket.left_s() == 0.0 or not self._guard.takes(caller):
            return None
        TALLY.observe(DECODING, decoded - began)  # only here: the ordinary way decodes again
        return _Begun(call, terms, ticket, loaded, batch, read, decoded)

    def _end(self, begun: _Begun, scores: Scores | Exception) -> None:
        self._admission.leave(begun.ticket)
        if isinstance(scores, Exception):
            begun.call.give_back()
            return
        call, loaded = begun.call, begun.loaded
        scored = Scored(call.request_id, loaded, None, begun.batch, scores, begun.read.row_ids, len(call.body))
        self._pipeline.note(scored, time.perf_counter() - begun.decoded)
        media = begun.terms.media
        answer = Answer(loaded.name, loaded.version, None, call.request_id, scores, overlay=loaded.overlay)
        body = encode(answer, media)
        call.answer(200, _headers(loaded.name, loaded.version, loaded.overlay, media, len(body)), body)


@lru_cache(maxsize=HEADS)
def terms_of(head: Head) -> Terms | None:
    """None where only the ordinary way can tell what the head asks for, or what is wrong with it."""
    model = MODEL.fullmatch(head.query)
    if head.query and model is None:
        return None
    texts = {name: value.decode("latin-1") for name, value in head.headers.items()}
    scheme, key = get_authorization_scheme_param(texts.get(b"authorization"))
    content_type = texts.get(b"content-type")
    if content_type is not None and content_type not in MEDIA_TYPES:
        return None
    try:
        media = accepted(texts.get(b"accept"))
        timeout_s = timeout_of(head.headers)
    except (HTTPException, LlactrError):
        return None
    return Terms(
        model=None if model is None else model[1].decode(),
        key=key if scheme.lower() == "bearer" and key else None,
        content_type=content_type,
        form=form_of(SCORE, head.headers),
        media=media,
        timeout_s=timeout_s,
    )


@lru_cache(maxsize=1024)
def _headers(model: str, version: str, overlay: str | None, media: str, length: int) -> RawHeaders:
    named = {"x-model": model, "x-model-version": version}
    if overlay is not None:
        named["x-model-overlay"] = overlay
    named |= {"content-length": str(length), "content-type": media}
    return tuple((name.encode(), value.encode("latin-1")) for name, value in named.items())
