"""The coordinator service: public API, routing to owners, leadership and assignment."""
