"""Nightfeed's worker: catalogue, events, the nightly run, the admin API and the command line."""
