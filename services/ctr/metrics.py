"""What the CTR service counts besides what `services.shared.telemetry.metrics` does; the same rules hold here.

The numbers of live traffic are gauges that every API process reads from the storage, so no process counts twice.
"""

from prometheus_client import Counter, Gauge, Histogram

from services.shared.telemetry.metrics import LATENCY_S, REGISTRY

# -- scoring ----------------------------------------------------------------------------------------------------------
SCORED_ROWS = Counter("llactr_scored_rows", "Rows scored, by model.", ("model",), registry=REGISTRY)
SCORE_STAGE_SECONDS = Histogram(
    "llactr_score_stage_seconds",
    "Seconds of a scoring request by stage: decode (body to rows), fill (lookups), score (encode and infer).",
    ("stage",),
    buckets=(0.0001, 0.0005, *LATENCY_S),
    registry=REGISTRY,
)
SCORE_REQUESTS_WAITING = Gauge(
    "llactr_score_requests_waiting",
    "Scoring requests that were let in and are not answered yet.",
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
SCORE_REFUSED = Counter(
    "llactr_score_refused",
    "Scoring requests refused with 503: the event loop was behind (loop), the expected wait for a thread too long "
    "(queue) or longer than the caller waits (deadline), too many requests or bytes held (requests, bytes).",
    ("reason",),
    registry=REGISTRY,
)
SCORE_DEADLINES_MISSED = Counter(
    "llactr_score_deadlines_missed", "Scoring requests whose X-Timeout-Ms passed before the answer.", registry=REGISTRY
)
ARM_FALLBACKS = Counter(
    "llactr_arm_fallbacks",
    "Requests that the champion answered because the alias of their arm could not be loaded.",
    ("model", "alias"),
    registry=REGISTRY,
)

# -- loaded models ----------------------------------------------------------------------------------------------------
MODELS_LOADED = Gauge(
    "llactr_models_loaded", "Versions in the memory of the APIs.", registry=REGISTRY, multiprocess_mode="livesum"
)
MODEL_BYTES = Gauge(
    "llactr_model_bytes", "About how many bytes they take.", registry=REGISTRY, multiprocess_mode="livesum"
)
MODEL_LOADS = Counter(
    "llactr_model_loads",
    "Versions that were to be brought into memory: loaded, or refused because they are damaged, do not score as they "
    "did, cannot be read or have no room.",
    ("outcome",),
    registry=REGISTRY,
)
MODEL_LOAD_SECONDS = Histogram(
    "llactr_model_load_seconds",
    "Seconds to load a version, verify it and warm it up.",
    buckets=LATENCY_S,
    registry=REGISTRY,
)
MODEL_EVICTIONS = Counter(
    "llactr_model_evictions", "Versions that left memory because others needed their room.", registry=REGISTRY
)

OVERLAYS = Counter(
    "llactr_overlays",
    "Overlays that loaded versions were to take up: loaded, or refused because they are damaged.",
    ("outcome",),
    registry=REGISTRY,
)
OVERLAY_VALUES = Counter(
    "llactr_overlay_values",
    "Values added to overlays, by who asked for them (admin or background).",
    ("source",),
    registry=REGISTRY,
)
NEWCOMERS_DROPPED = Counter(
    "llactr_newcomers_dropped",
    "Answered requests in which no new values were looked for, for lack of room or time.",
    registry=REGISTRY,
)

# -- lookups ----------------------------------------------------------------------------------------------------------
LOOKUPS = Counter(
    "llactr_lookups",
    "Questions to the stores of features, one a request and entity: answered or failed.",
    ("outcome",),
    registry=REGISTRY,
)

# -- experiments, shadow traffic and the score log --------------------------------------------------------------------
ARM_REQUESTS = Counter(
    "llactr_arm_requests", "Requests that an experiment gave to an alias.", ("model", "alias"), registry=REGISTRY
)
WATCHED_REQUESTS = Counter(
    "llactr_watched_requests",
    "Answered requests that were sampled for the score log or the shadow: taken, dropped because the buffer was "
    "full, or failed on the way to the storage.",
    ("outcome",),
    registry=REGISTRY,
)
LOGGED_ROWS = Counter(
    "llactr_logged_rows",
    "Scores for the log: written, repeated (the request id was logged before), or dropped because the "
    "storage did not take them in time.",
    ("outcome",),
    registry=REGISTRY,
)
SHADOW_ROWS = Counter(
    "llactr_shadow_rows",
    "Rows for the shadow: compared, or failed because its version could not be loaded or did not score.",
    ("outcome",),
    registry=REGISTRY,
)
SHADOW_DIFFERENCE = Gauge(
    "llactr_shadow_mean_difference",
    "Mean absolute difference between the shadow's scores and those that were answered, over the window.",
    ("model", "version", "shadow"),
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
OUTCOMES = Counter("llactr_outcomes", "Labels that were accepted.", registry=REGISTRY)

# -- live quality -----------------------------------------------------------------------------------------------------
LIVE_AUC = Gauge(
    "llactr_live_auc",
    "AUC of logged scores that have labels, over the window.",
    ("model", "version"),
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
LIVE_LOGLOSS = Gauge(
    "llactr_live_logloss",
    "LogLoss of logged scores that have labels, over the window.",
    ("model", "version"),
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
LIVE_CALIBRATION = Gauge(
    "llactr_live_calibration_ratio",
    "Predicted over true clicks of logged scores that have labels, over the window.",
    ("model", "version"),
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
LIVE_ROWS = Gauge(
    "llactr_live_labelled_rows",
    "Logged scores that have labels, over the window, up to the cap.",
    ("model", "version"),
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
LIVE_PSI = Gauge(
    "llactr_live_psi",
    "Population stability index of a field between the held-out rows of the version and its traffic.",
    ("model", "version", "field"),
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
LIVE_SCORE_PSI = Gauge(
    "llactr_live_score_psi",
    "Population stability index of the scores between the held-out rows of the version and its traffic.",
    ("model", "version"),
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)

# -- schedules --------------------------------------------------------------------------------------------------------
SCHEDULE_RUNS = Counter(
    "llactr_schedule_runs",
    "Occasions of the schedules of refreshes: submitted, or skipped because a refresh of the model was at work.",
    ("outcome",),
    registry=REGISTRY,
)
