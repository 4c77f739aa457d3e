"""Engines execute: they fold datasets into states."""
