"""Scoring requests with nothing unusual about them, answered on the short way: same answers, same counts.

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
from services.shared.access.caller import Caller
from services.shared.http.short_way import HEADS, Head, RawHeaders, ShortCall
from services.shared.telemetry.tally import TALLY

MOST_BYTES = 512 * 1024  # of a body; 1000 rows of JSON
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
    """A request that was let in."""

    call: ShortCall
    terms: Terms
    ticket: Ticket
    caller: Caller
    loaded: Loaded
    asked: Asked


@dataclass(frozen=True, slots=True)
class _Decoded:
    """Its rows; `seconds` were spent on decoding them, until `at` by `time.perf_counter`."""

    batch: Batch
    seconds: float
    at: float


@dataclass(frozen=True, slots=True)
class _Done:
    """Its answer, `seconds` after its rows were decoded."""

    decoded: _Decoded
    read: Read
    scores: Scores
    seconds: float
    body: bytes


class ShortScoring:
    """The `ShortWay` of POST /v1/score."""

    method, path = "POST", SCORE

    def __init__(self, pipeline: ScoringPipeline, admission: Admission, settings: CtrSettings, guard: Guard) -> None:
        self.most_bytes = min(MOST_BYTES, settings.max_body_bytes)
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
        try:
            begun = self._begun(call, terms, ticket)
            if begun is not None and self._goes_on(begun):
                return True
        except Exception:  # the ordinary way says what is wrong
            pass
        self._admission.leave(ticket)
        return False

    def _begun(self, call: ShortCall, terms: Terms, ticket: Ticket) -> _Begun | None:
        """None where the request is one for the ordinary way."""
        caller = self._guard.known(terms.key)
        loaded = None if caller is None else self._pipeline.finder.in_memory(caller, terms.model)
        if caller is None or loaded is None:
            return None
        asked = Asked(terms.model, partial(decode, call.body, terms.content_type, *self._limits), len(call.body))
        return _Begun(call, terms, ticket, caller, loaded, asked) if self._pipeline.is_plain(loaded, asked) else None

    def _goes_on(self, begun: _Begun) -> bool:
        """Have the request scored: a small one with those that come at once, a larger one in a thread of its lane."""
        ticket, scorer, decoded = begun.ticket, begun.loaded.scorer, None
        if ticket.lane is None:
            if begun.asked.size > INLINE_BYTES:
                return False
            decoded = _decoded(begun)
            if ticket.settle(decoded.batch.rows) is None:
                read = self._pipeline.read(scorer, decoded.batch, begun.asked)
                if ticket.left_s() == 0.0 or not self._guard.takes(begun.caller):
                    return False
                take = partial(self._scored, begun, decoded, read)
                self._pipeline.together.add(scorer, read.encoded, take, is_alone=begun.call.is_alone)
                return True
        if ticket.lane is None or ticket.deadline is not None:  # who has a deadline hears of it while he waits
            return False
        ticket.lane.begin(partial(self._done, begun, decoded), ticket, partial(self._take, begun))
        return True

    def _scored(self, begun: _Begun, decoded: _Decoded, read: Read, scores: Scores | Exception) -> None:
        if isinstance(scores, Exception):
            self._give_back(begun)
            return
        self._answer(begun, _Done(decoded, read, scores, time.perf_counter() - decoded.at, _body(begun, scores)))

    def _done(self, begun: _Begun, decoded: _Decoded | None) -> _Done:
        """All the work for a request; in a thread."""
        if begun.call.is_gone:
            raise ConnectionError
        decoded = decoded or _decoded(begun)
        lane = begun.ticket.lane
        if lane is None or decoded.batch.rows > lane.most_rows:
            raise OverloadError("these are more rows than its bytes promised")
        scorer = begun.loaded.scorer
        read = self._pipeline.read(scorer, decoded.batch, begun.asked)
        scores = scorer.probabilities(read.encoded)
        return _Done(decoded, read, scores, time.perf_counter() - decoded.at, _body(begun, scores))

    def _take(self, begun: _Begun, done: _Done | BaseException) -> None:
        if isinstance(done, BaseException) or not self._guard.takes(begun.caller):
            self._give_back(begun)
            return
        self._admission.learn(begun.ticket, done.decoded.batch.rows)
        self._answer(begun, done)

    def _give_back(self, begun: _Begun) -> None:
        self._admission.leave(begun.ticket)
        begun.call.give_back()

    def _answer(self, begun: _Begun, done: _Done) -> None:
        self._admission.leave(begun.ticket)
        TALLY.observe(DECODING, done.decoded.seconds)  # only here: the ordinary way decodes again
        call, loaded, batch = begun.call, begun.loaded, done.decoded.batch
        scored = Scored(call.request_id, loaded, None, batch, done.scores, done.read.row_ids, begun.asked.size)
        self._pipeline.note(scored, done.seconds)
        headers = _headers(loaded.name, loaded.version, loaded.overlay, begun.terms.media, len(done.body))
        call.answer(200, headers, done.body)


def _decoded(begun: _Begun) -> _Decoded:
    began = time.perf_counter()
    batch = begun.asked.decode(begun.loaded.scorer.reader)
    at = time.perf_counter()
    return _Decoded(batch, at - began, at)


def _body(begun: _Begun, scores: Scores) -> bytes:
    loaded = begun.loaded
    answer = Answer(loaded.name, loaded.version, None, begun.call.request_id, scores, overlay=loaded.overlay)
    return encode(answer, begun.terms.media)


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
