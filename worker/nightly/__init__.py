"""The nightly run: pure stages (score, fresh, subtract, mix, space), and the pipeline that feeds them from Redis."""
