"""The service: verdicts over HTTP, and a page that asks for them; no image is stored or leaves the machine."""
