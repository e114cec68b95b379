"""The API process of the LLM service: `python -m services.llm.api`."""

from services.shared.http.starting import start

if __name__ == "__main__":
    start("services.llm.app")
