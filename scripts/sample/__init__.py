"""Seeded sample data: a catalogue with drawn pictures, and the visitors of its last weeks."""
