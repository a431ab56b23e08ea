"""Run operations on models' weights, one child process each: pull, verify, remove."""
