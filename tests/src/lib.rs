//! Tests that see the whole: they start the real programs on the lab. They live in `tests/tests`.
