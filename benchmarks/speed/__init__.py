"""Seconds and memory beside a bare loop, growth with the problem, start of a process."""
