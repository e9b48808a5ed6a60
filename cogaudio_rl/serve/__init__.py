"""A trained policy behind the OpenAI chat API. Knows no Ray: actors/responder.py puts it there."""
