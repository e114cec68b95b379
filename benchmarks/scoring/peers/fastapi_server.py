"""FastAPI, pydantic and eager PyTorch: the way in which most scoring services begin."""

import uvicorn
from fastapi import FastAPI
from model import Model, arguments
from pydantic import BaseModel

bundle, port = arguments()
model = Model(bundle)
app = FastAPI()


class Rows(BaseModel):
    """The request."""

    rows: list[dict[str, str]]


class Scores(BaseModel):
    """The answer."""

    scores: list[float]


@app.post("/predict")
def predict(request: Rows) -> Scores:
    """Score rows."""
    return Scores(scores=model.scores(request.rows))


@app.get("/health")
def health() -> str:
    """It lives."""
    return "ok"


uvicorn.run(app, host="127.0.0.1", port=port, log_level="error")
