import pytest
from starlette.exceptions import HTTPException

from services.llm.formats import ARROW, JSON, SAFETENSORS, choose


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        (ARROW, ARROW),
        (SAFETENSORS.upper(), SAFETENSORS),
        (f"text/html, {ARROW};q=0.5, {JSON};q=0.4", ARROW),
        (f"*/*, {SAFETENSORS}", SAFETENSORS),
        (f"*/*;q=0.9, {SAFETENSORS};q=0.1", JSON),
        (f"{JSON};q=0, {ARROW};q=0.1", ARROW),
        (f"{JSON};q=0, */*", ARROW),
        (f"{ARROW};q=nan, {SAFETENSORS};q=0.1", SAFETENSORS),
        (f"*/*;q=0.1, application/*;q=0, {ARROW};q=0.2", ARROW),
    ],
)
def test_the_best_of_what_is_accepted(accept: str | None, media: str) -> None:
    assert choose(accept) == media


@pytest.mark.parametrize("accept", ["image/png", f"{JSON};q=0", f"{JSON};q=much", "nonsense", "application/*;q=0, */*"])
def test_nothing_that_is_accepted(accept: str) -> None:
    with pytest.raises(HTTPException) as refused:
        choose(accept)
    assert refused.value.status_code == 406
