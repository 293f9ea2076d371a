"""Decisions as pure functions of plain data: no I/O, no clock, no framework."""
