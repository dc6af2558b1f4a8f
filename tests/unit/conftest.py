"""Tests here are run after each edit: see support/fast.py."""

from support.fast import no_processes_and_no_addresses as no_processes_and_no_addresses
